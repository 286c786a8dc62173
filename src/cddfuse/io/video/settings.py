"""What a user may say about clips."""

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from cddfuse.errors import InputError

Layout = Literal["side-by-side", "stacked", "side-by-side-swapped", "stacked-swapped"]
CodecName = Literal["h264", "hevc", "av1", "vp9", "ffv1"]
FRAME_RATE = Fraction(25)

SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts"),
    *(".wmv", ".flv", ".3gp", ".ogv", ".y4m", ".mxf", ".h264", ".hevc"),
)
"""What the names of video files end with, in lower case."""

MOVING = {".gif", ".apng", ".webp"}
"""Suffixes of images that may hold frames, which are read beside a clip."""

ADDRESSES = ("rtsp", "rtsps", "rtmp", "srt", "udp", "tcp", "http", "https", "camera")
"""Schemes of live sources: network cameras, and `camera:0` for one at this machine."""


@dataclass(frozen=True)
class ClipReading:
    """How clips are read."""

    offset: Fraction = Fraction(0)
    """Seconds: time t of the first clip is time t + offset of the second."""

    layout: Layout | None = None
    """How one clip holds both sides: the first at the left or at the top, or swapped."""

    rate: Fraction | None = None
    """Frames per second of image sequences, which have no times of their own; None is 25."""


@dataclass(frozen=True)
class ClipWriting:
    """How clips are written."""

    codec: CodecName | None = None
    """None takes h264, or vp9 for webm."""

    crf: int | None = None
    """Constant rate factor: lower is better and larger; None is that of the codec."""

    rate: Fraction | None = None
    """Frames per second of results that have no times of their own; None is 25."""


def names_clip(path: Path) -> bool:
    """Whether something is named as a video file or a live address."""
    return path.suffix.lower() in SUFFIXES or address(path) is not None


def address(path: Path) -> str | None:
    """The address of a live source; None for a file. Paths hold one slash of two only."""
    text = str(path).replace("\\", "/")
    if re.fullmatch(r"camera:\d+", text):
        return text
    found = re.match(rf"({'|'.join(ADDRESSES)}):/+(?=[^/])", text)
    return f"{found[1]}://{text[found.end() :]}" if found else None


def seconds(text: str) -> Fraction:
    """A time such as 0.5, -2 or 1/30."""
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise InputError(f"{text} is no time: give seconds, such as 0.5.", "offset") from error


def frame_rate(text: str) -> Fraction:
    """A rate such as 25, 29.97 or 30000/1001."""
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 1000:
        raise InputError(f"{text} is no frame rate: give frames per second, such as 25.", "fps")
    return rate
