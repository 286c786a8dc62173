"""One side of a clip: a video file or an image sequence as pictures with times."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from cddfuse.errors import InputError
from cddfuse.io.decode import Decoded, decode, image_size, read_header
from cddfuse.io.listing import list_images, require_images
from cddfuse.io.ranges import Readable
from cddfuse.io.video import pixels
from cddfuse.io.video.settings import FRAME_RATE

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

_SAMPLES = 64  # frames that a value range is found in
_SECOND = 10**6  # units of FFmpeg for the duration of a file
_CLOCK = re.compile(r"([0-9]{1,9}):([0-9]{1,9}):([0-9]{1,9}(?:\.[0-9]{1,18})?)")

Problems = defaultdict[str, list[str]]
"""What was wrong with a file, in sentences, by its name."""


class Picture(NamedTuple):
    """A frame that has been decoded, or an image that has not been read."""

    time: Fraction
    """Seconds from the start of the clip."""

    read: Callable[[], Decoded]
    """Its pixels, upright."""


class Facts(NamedTuple):
    """What is known of a clip before it is decoded."""

    height: int
    """Upright."""

    width: int
    deep: bool
    rate: Fraction
    """Frames per second, where they differ roughly."""

    duration: Fraction | None
    """Seconds, for progress."""

    frames: int | None
    """Exactly; None where the file does not say."""

    unit: Fraction
    """Seconds that all times are multiples of."""

    aspect: Fraction = Fraction(1)
    """Width of a pixel over its height."""


class Stream(Protocol):
    """One side of a clip."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    @property
    def facts(self) -> Facts:
        """See there."""
        ...

    def pictures(self, problems: Problems) -> Iterator[Picture]:
        """All pictures in the order of their times; what is wrong ends up in `problems`."""
        ...

    def samples(self) -> Sequence[Readable]:
        """Some pictures, evenly spaced, to find the range of values in."""
        ...


@dataclass(frozen=True)
class FileStream:
    """The video of a file."""

    path: Path
    facts: Facts

    @classmethod
    def of(cls, path: Path) -> "FileStream":
        """Open a file, which is decoded as far as its first frame."""
        with _opened(path) as (container, stream):
            frame = next(container.decode(stream), None)
            if frame is None:
                raise InputError(f"{path} holds no frames: make or copy it again.")
            return cls(path, _facts(container, stream, frame))

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    def pictures(self, problems: Problems) -> Iterator[Picture]:
        """All frames. Damaged parts are left out, and so is what a cut file lacks."""
        from av import FFmpegError

        end = Fraction(0)
        with _opened(self.path) as (container, stream):
            stream.thread_type = "AUTO"
            zero, damaged, untimed = stream.start_time, 0, 0
            last: Fraction | None = None
            packets = container.demux(stream)
            while True:
                try:
                    packet = next(packets, None)
                except FFmpegError as error:
                    problems[self.name].append(f"it is damaged after {float(end):.2f} s ({error})")
                    break
                if packet is None:
                    break
                try:
                    frames = packet.decode()
                except FFmpegError:
                    damaged += 1
                    continue
                for frame in frames:
                    damaged += frame.is_corrupt
                    pts = frame.pts
                    if pts is not None and zero is None:
                        zero = pts
                    time = end if pts is None or zero is None else (pts - zero) * _unit(frame)
                    long = frame.duration * _unit(frame) if frame.duration else 1 / self.facts.rate
                    if last is not None and time <= last:
                        time, untimed = last + 1 / self.facts.rate, untimed + 1
                    last, end = time, max(end, time + long)
                    yield Picture(time, partial(pixels.decoded, frame))
            expected = _expected(container, stream)
        if untimed:  # all of a file that was written without times
            problems[self.name].append(
                f"{untimed} of its frames come at the time of another, and were taken as one after "
                "the other"
            )
        if damaged:
            problems[self.name].append(f"{damaged} of its frames are damaged")
        # The duration of a file without one of its own for the video may be that of its sound.
        if expected and end < expected - max(Fraction(1, 4), expected / 50, 3 / self.facts.rate):
            problems[self.name].append(
                f"it ends after {float(end):.2f} s of the {float(expected):.2f} s it should have"
            )

    def samples(self) -> Sequence[Readable]:
        """Frames at evenly spaced times."""
        length = self.facts.duration or Fraction(0)
        count = min(_SAMPLES, max(1, int(length * self.facts.rate)))
        return [
            Readable(partial(self._near, length * index / count), lambda: self.facts.deep)
            for index in range(count)
        ]

    def _near(self, time: Fraction) -> Decoded:
        with _opened(self.path) as (container, stream):
            zero, unit = stream.start_time or 0, stream.time_base or Fraction(1)
            if time:
                container.seek(int(time / unit) + zero, stream=stream, backward=True)
            last = None
            for last in container.decode(stream):
                if last.pts is None or (last.pts - zero) * _unit(last) >= time:
                    break
            if last is None:
                raise InputError(f"{self.path} has no frame at {float(time):.2f} s.")
            return pixels.decoded(last)


@dataclass(frozen=True)
class ImageStream:
    """The images of a folder as frames, in natural order."""

    folder: Path
    images: Sequence[Path]
    facts: Facts

    @classmethod
    def of(cls, folder: Path, rate: Fraction | None) -> "ImageStream":
        """List a folder."""
        found, skipped = list_images(folder)
        require_images(folder, found, skipped)
        images = [image.path for image in found]
        height, width = image_size(images[0])
        rate = rate or FRAME_RATE
        deep, count = read_header(images[0]).deep, len(images)
        return cls(folder, images, Facts(height, width, deep, rate, count / rate, count, 1 / rate))

    @property
    def name(self) -> str:
        """The folder."""
        return str(self.folder)

    def pictures(self, problems: Problems) -> Iterator[Picture]:
        """All images, read when they are needed."""
        for number, path in enumerate(self.images):
            yield Picture(number / self.facts.rate, partial(decode, path))

    def samples(self) -> Sequence[Readable]:
        """Evenly spaced images."""
        step = max(1, len(self.images) // _SAMPLES)
        return [
            Readable(partial(decode, path), lambda: self.facts.deep) for path in self.images[::step]
        ]


@contextmanager
def _opened(path: Path) -> Iterator[tuple["InputContainer", "VideoStream"]]:
    av = pyav()
    try:
        container = av.open(str(path), metadata_errors="replace")
    except FileNotFoundError as error:
        raise InputError(f"there is no file or folder {path}: check the name.") from error
    except Exception as error:  # FFmpeg's, and what PyAV raises of malformed headers
        raise InputError(
            f"{path} is no video, or is damaged or cut short ({reason(error)}): make or copy it "
            "again."
        ) from error
    with container:
        if not container.streams.video:
            raise InputError(f"{path} holds no video, or is cut short: name another file.")
        try:
            yield container, container.streams.video[0]
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"{path} cannot be decoded ({reason(error)}): make or copy it again."
            ) from error


def pyav() -> Any:
    """The package PyAV."""
    try:
        import av
    except ImportError as error:
        raise InputError(
            "video needs the package av: install it with pip install 'cddfuse[video]'."
        ) from error
    return av


def reason(error: Exception) -> str:
    """What FFmpeg says, without the path that the sentence has already."""
    return str(getattr(error, "strerror", None) or error)


def _unit(frame: "VideoFrame") -> Fraction:
    return frame.time_base or Fraction(1)


def _facts(container: "InputContainer", stream: "VideoStream", frame: "VideoFrame") -> Facts:
    rate = Fraction(stream.guessed_rate or stream.average_rate or FRAME_RATE)
    expected = _expected(container, stream)
    height, width = np.rot90(
        np.empty((frame.height, frame.width), bool), frame.rotation // 90
    ).shape
    aspect = Fraction(stream.sample_aspect_ratio or 1) or Fraction(1)
    deep = max(component.bits for component in frame.format.components) > 8
    unit = Fraction(stream.time_base or Fraction(1, 90000))
    return Facts(
        *(height, width, deep, rate, expected, stream.frames or None, unit),
        aspect=1 / aspect if frame.rotation % 180 else aspect,
    )


def _expected(container: "InputContainer", stream: "VideoStream") -> Fraction | None:
    """Seconds that the video should have by what the file says."""
    if clock := _CLOCK.fullmatch(stream.metadata.get("DURATION", "").strip("\0")):
        hours, minutes, rest = map(Fraction, clock.groups())
        return 3600 * hours + 60 * minutes + rest - _start(stream)
    if stream.duration and stream.time_base:
        return Fraction(stream.duration * stream.time_base)
    if container.duration and len(container.streams) == 1:
        return Fraction(container.duration, _SECOND)
    return None


def _start(stream: "VideoStream") -> Fraction:
    return Fraction((stream.start_time or 0) * (stream.time_base or 0))
