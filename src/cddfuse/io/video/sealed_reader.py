"""Decode a clip of a stranger in a process that opens no file and takes little memory.

Run as a file: of the package, it imports only what decodes, for the package imports PyTorch, which
takes longer than a clip. It reads a line of JSON and the file from the standard input, and writes
messages to the standard output, each a line of JSON and as many bytes as that says.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from cddfuse.io.video.sealed import Sealed
    from cddfuse.io.video.streams import FileStream, Picture

_BYTES = 3 * 2**29  # of memory, beside what the file and its frames take
_FRAMES = 64  # that decoders keep
_SECONDS = 3600  # of a processor, should nobody be there any more who ends the process
_PACKAGES = ("cddfuse", "cddfuse.io", "cddfuse.io.video")

Message = tuple[dict[str, Any], bytes]


def main(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer the one request."""
    from cddfuse.io.video.sealed import Sealed
    from cddfuse.io.video.streams import pyav

    request = json.loads(source.readline())
    samples = request.pop("samples")
    sealed = Sealed(source.read(), **request)
    _rehearse(pyav())
    _confine(sealed)
    for head, data in messages(sealed, samples):
        sink.write(json.dumps(head).encode() + b"\n" + data)
    sink.flush()


def messages(sealed: "Sealed", samples: int | None) -> Iterator[Message]:
    """Frames and facts of a clip, or why it is refused.

    Args:
        sealed: the clip.
        samples: evenly spaced frames that are wanted, about; None for all.
    """
    from cddfuse.errors import InputError
    from cddfuse.io.video.streams import FileStream, Problems

    problems = Problems(list)
    count = 0
    try:
        packets = _packets(sealed)
        stream = FileStream.of(Path(sealed.name), sealed)
        step = max(1, packets // samples) if samples else 1
        for count, picture in enumerate(stream.pictures(problems), 1):
            if (count - 1) % step == 0:
                yield _frame(picture)
        yield _end(stream, count, problems[stream.name]), b""
    except InputError as error:
        yield {"refused": str(error), "setting": error.setting}, b""
    except MemoryError:
        yield {"refused": f"{sealed.name} takes too much memory: make it again."}, b""


def _packets(sealed: "Sealed") -> int:
    """How many frames there are, without decoding any; more than are accepted are refused."""
    from cddfuse.io.video.streams import opened

    count = 0
    with (
        opened(Path(sealed.name), sealed) as (container, stream),
        suppress(OSError, ValueError),  # damage, which shows when it is decoded
    ):
        for packet in container.demux(stream):
            count += packet.size > 0
            if count > sealed.frames:
                break
    sealed.require_few(count)
    return count


def _frame(picture: "Picture") -> Message:
    image = picture.read()
    head = {
        "time": str(picture.time),
        "shape": image.pixels.shape,
        "type": image.pixels.dtype.name,
        "white": image.full[1],
        "deep": image.deep,
    }
    return head, image.pixels.tobytes()


def _end(stream: "FileStream", count: int, problems: list[str]) -> dict[str, Any]:
    facts = stream.facts._replace(frames=count)
    texts = {name: None if x is None else str(x) for name, x in facts._asdict().items()}
    return {"facts": texts, "problems": problems}


def _rehearse(av: Any) -> None:
    """Decode a clip of our own, so that all that is imported late has been."""
    from cddfuse.io.video.sealed import Sealed

    file = BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        for frame in (av.VideoFrame(16, 16, "yuv420p"), None):
            container.mux(stream.encode(frame))
    list(messages(Sealed(file.getvalue(), "", 1, 256), None))


def _confine(sealed: "Sealed") -> None:
    """Let this process open nothing from here on, and give it little memory, where that is had."""
    if sys.platform == "win32":
        return
    import resource

    memory = _BYTES + 4 * len(sealed.data) + 8 * _FRAMES * sealed.pixels
    limits = {"RLIMIT_NOFILE": 3, "RLIMIT_FSIZE": 0, "RLIMIT_AS": memory, "RLIMIT_CPU": _SECONDS}
    for name, most in limits.items():
        with suppress(ValueError, OSError):  # of systems that have other limits already
            resource.setrlimit(getattr(resource, name), (most, most))


def _without_package() -> None:
    """Have modules of the package found without running its own."""
    here = Path(__file__).parent
    sys.path[:] = [place for place in sys.path if Path(place or os.curdir) != here]
    for name in _PACKAGES:
        package = sys.modules[name] = ModuleType(name)
        package.__path__ = [str(here.parents[2].joinpath(*name.split(".")))]


if __name__ == "__main__":
    _without_package()
    main(sys.stdin.buffer, sys.stdout.buffer)
