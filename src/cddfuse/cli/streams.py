"""Standard output and error that do not fail.

Their reader may leave (`| head -1`), their disk may be full, they may be closed, and their encoding
may lack a character. None of this may end a job before its results are saved.
"""

import codecs
import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

_PLAIN = {"↑": "^", "↓": "v", "…": "...", "━": "-"}


class Output(io.RawIOBase):
    """Passes bytes on to a stream until that fails, and drops what comes later."""

    def __init__(self, target: Any = None) -> None:
        """Pass bytes on to `target`, or nowhere."""
        super().__init__()
        self.target = target
        self.error: OSError | None = None

    @property
    def lost(self) -> OSError | None:
        """Why something was not written, other than that the reader had left."""
        left = isinstance(self.error, BrokenPipeError)
        if os.name == "nt" and self.error is not None:
            left = self.error.errno == errno.EINVAL  # what Windows makes of it
        return None if left else self.error

    def writable(self) -> bool:
        """Always."""
        return True

    def fileno(self) -> int:
        """That of the target."""
        return super().fileno() if self.target is None else int(self.target.fileno())

    def isatty(self) -> bool:
        """Whether the target is a terminal."""
        return self.target is not None and bool(self.target.isatty())

    def write(self, data: Any) -> int | None:
        """Number of bytes that are out of the way."""
        if self.target is not None and self.error is None:
            try:
                return cast(int | None, self.target.write(data))
            except OSError as error:
                self.error = error
        return len(data)


@contextmanager
def tolerant() -> Iterator[Output]:
    """Within, `sys.stdout` and `sys.stderr` do not fail; yields what is behind the former."""
    before = sys.stdout, sys.stderr
    codecs.register_error("cddfuse.plain", _plain)
    sys.stdout, output = _tolerant(sys.stdout)
    sys.stderr, _ = _tolerant(sys.stderr)
    try:
        yield output
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before


def reserve_descriptors() -> None:
    """Open those of the descriptors 0 to 2 that are closed.

    The next file would get their number, and what libraries print would go into it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def _tolerant(stream: TextIO | None) -> tuple[TextIO, Output]:
    """A text stream in place of one that may be None or closed, and its raw stream."""
    if stream is None or stream.closed:
        output = Output()
        return io.TextIOWrapper(io.BufferedWriter(output), "utf-8", "cddfuse.plain"), output
    if not isinstance(stream, io.TextIOWrapper):  # a notebook's, say, which has its own ways
        return stream, Output()
    with suppress(OSError):
        stream.flush()
    output = Output(getattr(stream.buffer, "raw", stream.buffer))
    text = io.TextIOWrapper(
        io.BufferedWriter(output),
        stream.encoding,
        "cddfuse.plain",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
    return text, output


def _plain(error: UnicodeError) -> tuple[str, int]:
    """Error handler of encodings: the nearest ASCII, or the code of the character."""
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    escaped = (_PLAIN.get(x) or x.encode("ascii", "backslashreplace").decode() for x in text)
    return "".join(escaped), error.end
