"""One side of a clip that a stranger sent: decoded by a process apart, which can be ended."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from fractions import Fraction
from io import BufferedReader
from typing import IO, Any

import numpy as np

from cddfuse.errors import InputError
from cddfuse.io.decode import Decoded, Readable
from cddfuse.io.metadata import Metadata
from cddfuse.io.video import sealed_reader
from cddfuse.io.video.sealed import Sealed
from cddfuse.io.video.streams import Facts, Picture, Problems

_SAMPLES = 16  # frames that a value range is found in; they are kept in memory
_TYPES = ("uint8", "uint16", "float16", "float32")
_LONGEST = 2**16  # bytes of the line before a message

Message = tuple[dict[str, Any], bytearray]
Spawned = Callable[[Callable[[], None]], object]


@dataclass(frozen=True)
class SealedStream:
    """The video of a file in memory."""

    sealed: Sealed
    facts: Facts
    kept: Sequence[Decoded]
    """Some of its frames, evenly spaced."""

    spawned: Spawned

    @classmethod
    def of(cls, sealed: Sealed, spawned: Spawned = lambda end: None) -> "SealedStream":
        """Decode a clip once, so that what is wrong with it shows before any work is done.

        Args:
            sealed: the clip.
            spawned: called with what ends a process that decodes, which may be called from any
                thread and more than once.
        """
        kept, facts = [], None
        with closing(_messages(sealed, _SAMPLES, spawned)) as messages:
            for head, data in messages:
                if "facts" in head:
                    facts = _facts(head["facts"])
                else:
                    kept.append(_decoded(head, data))
        if facts is None or not facts.frames:
            raise InputError(f"{sealed.name} holds no frames: make or copy it again.")
        return cls(sealed, facts, kept, spawned)

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.sealed.name

    def pictures(self, problems: Problems) -> Iterator[Picture]:
        """All frames."""
        with closing(_messages(self.sealed, None, self.spawned)) as messages:
            for head, data in messages:
                if head.get("problems"):
                    problems[self.name] += head["problems"]
                elif "facts" not in head:
                    image = _decoded(head, data)
                    yield Picture(Fraction(head["time"]), lambda image=image: image)  # type: ignore[misc]

    def samples(self) -> Sequence[Readable]:
        """Some of its frames."""
        return [Readable(lambda x=x: x, lambda x=x: x.deep) for x in self.kept]  # type: ignore[misc]


def _messages(
    sealed: Sealed, samples: int | None, spawned: Spawned
) -> Generator[Message, None, None]:
    """What the process says, see `sealed_reader`; it has ended when this has."""
    process = subprocess.Popen(
        [sys.executable, sealed_reader.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # Each thread, and each pool of memory, would take of the little memory that it has.
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    with process:
        spawned(process.kill)
        try:
            _ask(process.stdin, sealed, samples)
            yield from _answers(process.stdout, sealed)  # type: ignore[arg-type]  # it is buffered
        finally:
            process.kill()


def _ask(stdin: IO[bytes] | None, sealed: Sealed, samples: int | None) -> None:
    request = {"name": sealed.name, "frames": sealed.frames, "pixels": sealed.pixels}
    line = json.dumps({**request, "samples": samples})
    assert stdin is not None
    with suppress(OSError), stdin:  # it has ended: the answer is missing then
        stdin.write(line.encode() + b"\n")
        stdin.write(sealed.data)


def _answers(stdout: BufferedReader, sealed: Sealed) -> Generator[Message, None, None]:
    while True:
        line = stdout.readline(_LONGEST)
        head = json.loads(line) if line.endswith(b"\n") else {}
        if "refused" in head:
            raise InputError(head["refused"], head.get("setting"))
        if "facts" in head:
            yield head, bytearray()
            return
        size = _size(head, sealed) if head else 0
        data = bytearray(size)
        if not size or stdout.readinto(data) < size:
            raise InputError(
                f"{sealed.name} cannot be decoded: its decoder has ended; make it again."
            )
        yield head, data


def _size(head: dict[str, Any], sealed: Sealed) -> int:
    """Bytes of a frame; 0 for one that cannot be."""
    height, width, *channels = head["shape"]
    fits = 0 < height * width <= sealed.pixels and channels in ([], [3])
    if not fits or head["type"] not in _TYPES:
        return 0
    return int(height * width * (3 if channels else 1) * np.dtype(head["type"]).itemsize)


def _decoded(head: dict[str, Any], data: bytearray) -> Decoded:
    pixels = np.frombuffer(data, head["type"]).reshape(head["shape"])
    bits = 16 if head["deep"] else 8
    return Decoded(pixels, (0.0, head["white"]), head["deep"], Metadata(bits))  # type: ignore[arg-type]


def _facts(texts: dict[str, str | None]) -> Facts:
    """Facts as text, as the process tells them, as numbers."""

    def maybe(name: str) -> Fraction | None:
        text = texts[name]
        return None if text is None else Fraction(text)

    whole = {name: int(maybe(name) or 0) for name in ("height", "width", "frames")}
    exact = {name: maybe(name) or Fraction(1) for name in ("rate", "unit", "aspect")}
    return Facts(**whole, **exact, deep=texts["deep"] == "True", duration=maybe("duration"))  # type: ignore[arg-type]
