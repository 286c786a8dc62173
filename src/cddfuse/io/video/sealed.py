"""A video file of a stranger, in memory: what is taken of it, and how it is opened.

It is told by its content, and nothing is opened beside it: no playlist, no address, no other file.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, NoReturn

from cddfuse.errors import InputError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

_DEMUXERS: Mapping[str, bytes] = {
    "mov": rb"....ftyp(?!avif|avis|hei|hev|mif1|msf1)",
    "matroska": rb"\x1aE\xdf\xa3",
    "avi": rb"RIFF....AVI ",
}
"""FFmpeg's demuxers that are used, by the first bytes of a file. None of them follows references
to other files by default, and none could: opening them is refused."""

_CODECS = ("h264", "hevc", "vp8", "vp9", "av1", "libdav1d", "mpeg4", "mjpeg", "ffv1")
"""FFmpeg's decoders that are used."""

_MOST_STREAMS = 16
_THREADS = 2
# What decoders may allocate for one frame beyond its pixels: blocks at its borders.
_SPARE = 1.5, 2**18


@dataclass(frozen=True)
class Sealed:
    """A video file in memory, with the limits that it has to keep."""

    data: bytes
    name: str
    """What messages call it."""

    frames: int
    """Most that it may have."""

    pixels: int
    """Most that a frame may have."""

    def opened(self, av: Any) -> "InputContainer":
        """The file, opened by PyAV."""
        container: InputContainer = av.open(
            BytesIO(self.data),
            format=self._demuxer(),
            metadata_errors="replace",
            io_open=_refuse,
            options={
                "codec_whitelist": ",".join(_CODECS),
                "max_streams": str(_MOST_STREAMS),
                "max_pixels": self._allocated(),
            },
        )
        return container

    def accept(self, stream: "VideoStream") -> None:
        """Refuse a stream that is too large or of another codec, before it is decoded."""
        context = stream.codec_context
        if context is None or context.name not in _CODECS:
            raise InputError(
                f"{self.name} has a codec that is not on the list: convert it to H.264 first."
            )
        width, height = context.width, context.height
        if width * height > self.pixels:
            raise InputError(
                f"{self.name} has frames of {width}x{height} pixels, where {self.pixels / 1e6:g} "
                "million are accepted: reduce it.",
                "pixels",
            )
        context.options = {"max_pixels": self._allocated()}
        context.thread_count = _THREADS

    def require_few(self, count: int) -> None:
        """Refuse a clip that has more frames than are accepted."""
        if count > self.frames:
            raise InputError(
                f"{self.name} has more than {self.frames} frames: cut it shorter.", "frames"
            )

    def _demuxer(self) -> str:
        for name, start in _DEMUXERS.items():
            if re.match(start, self.data[:64], re.DOTALL):
                return name
        raise InputError(f"{self.name} is none of MP4, MOV, MKV, WebM, AVI: convert it first.")

    def _allocated(self) -> str:
        times, more = _SPARE
        return str(int(times * self.pixels + more))


def _refuse(url: str, flags: int, options: Mapping[str, str]) -> NoReturn:
    """In place of opening what a file refers to."""
    raise PermissionError("files of strangers open nothing")
