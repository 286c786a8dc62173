"""One side of a clip: a video file or an image sequence as pictures with times."""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from cddfuse.errors import InputError
from cddfuse.io.decode import Decoded, Readable, decode, image_size, read_header
from cddfuse.io.listing import list_images, require_images
from cddfuse.io.video import pixels
from cddfuse.io.video.sealed import Sealed
from cddfuse.io.video.settings import FRAME_RATE

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

_SAMPLES = 64  # frames that a value range is found in
_LONGEST = 86_400  # seconds that a clip of a stranger may last
_GAP = Fraction(1, 2)  # seconds without a frame that may be
_PACKETS = {".ts": 188, ".m2ts": 192, ".mts": 192}  # bytes of those of transport streams
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
    sealed: Sealed | None = None
    """Its content, if a stranger sent it; the path is then what messages call it."""

    @classmethod
    def of(cls, path: Path, sealed: Sealed | None = None) -> "FileStream":
        """Open a file, which is decoded as far as its first frame."""
        with opened(path, sealed) as (container, stream):
            frame = next(container.decode(stream), None)
            if frame is None:
                raise InputError(f"{path} holds no frames: make or copy it again.")
            return cls(path, _facts(container, stream, frame), sealed)

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    def pictures(self, problems: Problems) -> Iterator[Picture]:
        """All frames. Damaged parts are left out, and so is what a cut file lacks."""
        from av import FFmpegError

        end = Fraction(0)
        with opened(self.path, self.sealed) as (container, stream):
            stream.thread_type = "AUTO"
            zero, damaged, untimed, count, sent = stream.start_time, 0, 0, 0, 0
            last: Fraction | None = None
            gaps = _Gaps(1 / self.facts.rate)
            packets = container.demux(stream)
            while True:
                try:
                    packet = next(packets, None)
                except FFmpegError as error:
                    problems[self.name].append(f"it is damaged after {float(end):.2f} s ({error})")
                    break
                if packet is None:
                    break
                sent += packet.size > 0 and not packet.is_discard
                try:
                    frames = packet.decode()
                except FFmpegError:
                    damaged += 1
                    continue
                for frame in frames:
                    damaged += frame.is_corrupt
                    count += 1
                    pts = frame.pts
                    if pts is not None and zero is None:
                        zero = pts
                    time = end if pts is None or zero is None else (pts - zero) * _unit(frame)
                    long = frame.duration * _unit(frame) if frame.duration else 1 / self.facts.rate
                    if last is not None and time <= last:
                        time, untimed = last + 1 / self.facts.rate, untimed + 1
                    gaps.add(time, long)
                    last, end = time, max(end, time + long)
                    if self.sealed:
                        self._require(frame, time, count)
                    yield Picture(time, partial(pixels.decoded, frame))
            expected = _expected(container, stream)
            # Edit lists leave out some of those that are named, and some that are sent are hidden.
            named = min(stream.frames, sent)
        if untimed:  # all of a file that was written without times
            problems[self.name].append(
                f"{untimed} of its frames come at the time of another, and were taken as one after "
                "the other"
            )
        if damaged:
            problems[self.name].append(f"{damaged} of its frames are damaged")
        missing = named - count - damaged
        if missing > max(3, named // 10):
            problems[self.name].append(f"{missing} of its {named} frames are missing")
        elif gaps.unexplained and gaps.seconds * self.facts.rate > damaged + 1:
            problems[self.name].append(gaps.sentence)
        # The duration of a file without one of its own for the video may be that of its sound.
        if expected and end < expected - max(Fraction(1, 4), expected / 50, 3 / self.facts.rate):
            problems[self.name].append(
                f"it ends after {float(end):.2f} s of the {float(expected):.2f} s it should have"
            )

    def _require(self, frame: "VideoFrame", time: Fraction, count: int) -> None:
        """Refuse what a stranger's clip must not do after its first frame."""
        assert self.sealed is not None
        self.sealed.require_few(count)
        if abs(time) > _LONGEST:
            raise InputError(f"{self.name} lasts longer than a day: cut it, or make it again.")
        height, width = _upright_size(frame)
        if (height, width) != self.facts[:2]:
            raise InputError(
                f"{self.name} changes its size from {self.facts.width}x{self.facts.height} to "
                f"{width}x{height} at frame {count}: cut it there."
            )

    @property
    def looks_cut(self) -> bool:
        """Whether a transport stream, which names no duration, ends amid a packet."""
        length = _PACKETS.get(self.path.suffix.lower(), 1)
        return self.sealed is None and os.path.getsize(self.path) % length > 0

    def samples(self) -> Sequence[Readable]:
        """Frames at evenly spaced times."""
        length = self.facts.duration or Fraction(0)
        count = min(_SAMPLES, max(1, int(length * self.facts.rate)))
        return [
            Readable(partial(self._near, length * index / count), lambda: self.facts.deep)
            for index in range(count)
        ]

    def _near(self, time: Fraction) -> Decoded:
        with opened(self.path, self.sealed) as (container, stream):
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


@dataclass
class _Gaps:
    """Times without frames that a file does not name, in a clip whose frames are even elsewhere.

    Decoders pass over what is damaged in silence. A clip of variable frame rate is uneven, or says
    how long each frame is shown.
    """

    usual: Fraction
    """Seconds from frame to frame."""

    steps: int = 0
    uneven: int = 0
    """Steps that differ from the usual one by more than half of it, but are no gaps."""

    gaps: int = 0
    seconds: Fraction = Fraction(0)
    """Of all gaps."""

    after: Fraction = Fraction(0)
    """The end of the last frame before the first gap."""

    _last: tuple[Fraction, Fraction] | None = None

    def add(self, time: Fraction, long: Fraction) -> None:
        """Take up a frame that is shown at a time, for as long as the file says."""
        if self._last is not None:
            step, end = time - self._last[0], sum(self._last, Fraction(0))
            self.steps += 1
            if time - end > max(_GAP, 5 * self.usual):
                self.after = self.after if self.gaps else end
                self.gaps += 1
                self.seconds += time - end
            elif abs(step - self.usual) > self.usual / 2:
                self.uneven += 1
        self._last = time, long

    @property
    def unexplained(self) -> bool:
        """Whether there are gaps that the times of the other frames do not explain."""
        return 0 < self.gaps <= self.steps // 4 and self.uneven <= self.steps // 10

    @property
    def sentence(self) -> str:
        """What is wrong."""
        places = "" if self.gaps == 1 else f" in {self.gaps} places, first"
        seconds = f"{float(self.seconds):.2f} s"
        return f"it has no frames for {seconds}{places} after {float(self.after):.2f} s"


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
def opened(
    path: Path, sealed: Sealed | None = None
) -> Iterator[tuple["InputContainer", "VideoStream"]]:
    """The file of a path, or what a stranger sent, with its video."""
    av = pyav()
    try:
        container = sealed.opened(av) if sealed else open_container(str(path))
    except InputError:
        raise
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
            if sealed:
                sealed.accept(container.streams.video[0])
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


def open_container(place: str, **more: Any) -> "InputContainer":
    """A file or an address, opened by PyAV. Tags that are not UTF-8 do not matter."""
    container: InputContainer = pyav().open(place, metadata_errors="replace", **more)
    return container


def reason(error: Exception) -> str:
    """What FFmpeg says, without the path that the sentence has already."""
    return str(getattr(error, "strerror", None) or error)


def _unit(frame: "VideoFrame") -> Fraction:
    return frame.time_base or Fraction(1)


def _facts(container: "InputContainer", stream: "VideoStream", frame: "VideoFrame") -> Facts:
    rate = Fraction(stream.guessed_rate or stream.average_rate or FRAME_RATE)
    expected = _expected(container, stream)
    height, width = _upright_size(frame)
    aspect = Fraction(stream.sample_aspect_ratio or 1) or Fraction(1)
    deep = max(component.bits for component in frame.format.components) > 8
    unit = Fraction(stream.time_base or Fraction(1, 90000))
    return Facts(
        *(height, width, deep, rate, expected, stream.frames or None, unit),
        aspect=1 / aspect if frame.rotation % 180 else aspect,
    )


def _upright_size(frame: "VideoFrame") -> tuple[int, int]:
    """Height and width of a frame as `pixels.decoded` turns it."""
    turned = frame.rotation // 90 % 2
    return (frame.width, frame.height) if turned else (frame.height, frame.width)


def _expected(container: "InputContainer", stream: "VideoStream") -> Fraction | None:
    """Seconds that the video should have by what the file says."""
    if container.format.name == "avi" and stream.frames and stream.time_base:
        return Fraction(stream.frames * stream.time_base)  # the duration is corrected for a cut
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
