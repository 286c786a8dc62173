"""Flags of `fuse` for clips."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cddfuse.cli.common import Words
from cddfuse.errors import InputError
from cddfuse.history import FRAMES, History
from cddfuse.io.video.settings import (
    ClipReading,
    ClipWriting,
    CodecName,
    Layout,
    frame_rate,
    seconds,
)


@Parameter(name="*", group="Video")
@dataclass(frozen=True)
class VideoFlags:
    """Clips: video files, image sequences, cameras."""

    offset: Annotated[str, Parameter(allow_leading_hyphen=True)] = "0"
    """Seconds: time t of the first clip is time t + offset of the second; 0.5, -2 or 1/30."""

    layout: Layout | None = None
    """How one clip holds both sides, the first at the left or at the top, or swapped."""

    fps: str | None = None
    """Frames per second of image sequences, such as 25 or 30000/1001; by default 25."""

    camera: Words = ()
    """Numbers of two cameras at this machine, first and second, in place of files. Ctrl-C ends the
    recording."""

    codec: CodecName | None = None
    """Of the result; by default h264, or vp9 for .webm. ffv1 (.mkv) is lossless, and holds 16
    bits."""

    crf: int | None = None
    """Constant rate factor of the codec: lower is better and larger, 0 to 51 for h264 and
    hevc, to 63 for av1 and vp9; by default 18 for h264."""

    steady: int | None = None
    """Frames over which what the network computes from whole images is smoothed, so that a clip
    does not flicker; 1 fuses each frame by itself. By default 30 for clips, 1 for images."""

    def reading(self) -> ClipReading:
        """How clips are read."""
        return ClipReading(seconds(self.offset), self.layout, frame_rate(self.fps or "25"))

    def writing(self) -> ClipWriting:
        """How clips are written."""
        return ClipWriting(self.codec, self.crf, frame_rate(self.fps or "25"))

    def sources(self, first: Path | None, second: Path | None) -> tuple[Path, Path | None]:
        """What is fused: the files, or the cameras."""
        if not self.camera:
            if first is None:
                raise InputError(
                    "nothing to fuse: give two files or folders, before flags that take several "
                    "values, or cameras.",
                    "camera",
                )
            return first, second
        if first is not None:
            raise InputError("give files or cameras, not both.", "camera")
        if len(self.camera) != 2 or not all(text.isdigit() for text in self.camera):
            raise InputError("give the numbers of two cameras, such as 0 1.", "camera")
        one, other = (Path(f"camera:{text}") for text in self.camera)
        return one, other

    def history(self, *, clip: bool) -> History | None:
        """What keeps a clip from flickering; None for images."""
        frames = (FRAMES if clip else 1) if self.steady is None else self.steady
        return History(frames) if frames != 1 else None
