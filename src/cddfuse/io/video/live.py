"""Cameras and network streams as a source of pairs, which drops the frames it has no time for.

A thread for each side keeps the latest frames with the time of their arrival. The loop takes the
newest frame of the first side and the one of the second that came nearest to it.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from fractions import Fraction
from functools import partial
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch

from cddfuse import colour
from cddfuse.errors import InputError
from cddfuse.history import FRAMES, slow
from cddfuse.io.agc import Agc
from cddfuse.io.decode import Decoded
from cddfuse.io.images import paired
from cddfuse.io.listing import Skipped
from cddfuse.io.metadata import Metadata
from cddfuse.io.ranges import Range, Ranges, Rule, curve
from cddfuse.io.source import Entry, Kind, Loaded
from cddfuse.io.transforms import located
from cddfuse.io.video import pixels
from cddfuse.io.video.streams import open_container, pyav, reason
from cddfuse.registration import Transform

_KEPT = 16  # frames of a side
_PATIENCE = 10  # seconds without a frame after which a side counts as gone
_TICK = Fraction(1, 90000)
_TIMELESS = {"mpegts", "mpeg", "h264", "hevc"}  # formats that name no duration of files either

Frames = Iterator[Callable[[], Decoded]]
Value = TypeVar("Value")


class Arrived(NamedTuple):
    """A frame of a camera."""

    time: float
    """Of its arrival, in seconds of a clock that only goes forward."""

    read: Callable[[], Decoded]
    number: int
    """Among all that came, from 0."""


class Feed:
    """The latest frames of one side, taken by a thread of its own."""

    def __init__(self, name: str, frames: Frames) -> None:
        self.name = name
        self.error: Exception | None = None
        self.ended = False
        self._frames = frames
        self._latest: deque[Arrived] = deque(maxlen=_KEPT)
        self._changed = threading.Condition()
        self._stop = False
        threading.Thread(target=self._take, name=f"frames of {name}", daemon=True).start()

    def after(self, past: float) -> Arrived | None:
        """The newest frame, once there is one that came later than `past`; None at the end."""
        with self._changed:
            found = self._changed.wait_for(
                lambda: self.ended or (self._latest and self._latest[-1].time > past), _PATIENCE
            )
            newest = self._latest[-1] if self._latest else None
        if newest and newest.time > past:
            return newest
        if self.error or not found:
            why = reason(self.error) if self.error else f"no frame for {_PATIENCE} s"
            raise InputError(f"{self.name} gives no more frames ({why}): check the camera.")
        return None

    def nearest(self, wanted: float) -> Arrived | None:
        """The frame that came nearest to that time; None at the end."""
        if self.after(float("-inf")) is None:
            return None
        with self._changed:
            if self.ended and self._latest[-1].time < wanted - _PATIENCE:
                return None
            return min(self._latest, key=lambda frame: abs(frame.time - wanted))

    def close(self) -> None:
        """Stop taking frames."""
        self._stop = True

    def _take(self) -> None:
        try:
            for number, read in enumerate(self._frames):
                with self._changed:
                    self._latest.append(Arrived(time.monotonic(), read, number))
                    self._changed.notify_all()
                if self._stop:
                    break
        except Exception as error:  # shown by the loop
            self.error = error
        with self._changed:
            self.ended = True
            self._changed.notify_all()


@dataclass
class Live:
    """Pairs of frames of two cameras, until one of them ends or the user stops."""

    kind: ClassVar[Kind] = "live"
    addresses: tuple[str, str]
    open: Callable[[str], Frames]
    """Connects to an address; see `frames_of`."""

    asked: Ranges
    """Ranges that are not given are found in each frame, and move slowly."""

    offset: Fraction = Fraction(0)
    """Seconds by which frames of the second camera arrive later."""

    resize: bool = False
    transform: Transform | None = None
    """Where frames of the first lie in those of the second, the same for all."""

    notes: Sequence[str] = ()
    skipped: Sequence[Skipped] = ()
    length: int | None = None
    ranges: Ranges | None = None
    """None: they move."""

    dropped: int = field(default=0, init=False)
    """Frames of the first camera so far for which there was no time."""

    def __iter__(self) -> Iterator[Entry[Loaded]]:
        """The pairs as they come; frames are converted here, since ranges move in order."""
        feeds = [Feed(address, self.open(address)) for address in self.addresses]
        moving = MovingRanges(self.asked)
        with closing(feeds[0]), closing(feeds[1]):
            past, start, number = float("-inf"), None, 0
            while one := feeds[0].after(past):
                other = feeds[1].nearest(one.time + float(self.offset))
                if other is None:
                    return
                past, self.dropped = one.time, one.number - number
                start = one.time if start is None else start
                # Unique among the frames of all recordings in a folder.
                name = f"{datetime.now():%Y%m%d-%H%M%S-%f}"
                loaded = self._loaded(name, one, other, moving)
                ticks = round((one.time - start) / _TICK)
                loaded = loaded._replace(metadata=replace(loaded.metadata, time=ticks * _TICK))
                origin = f"frame {number} of {' and '.join(self.addresses)}"
                yield Entry(name, origin, partial(_same, loaded))
                number += 1

    def _loaded(self, name: str, one: Arrived, other: Arrived, moving: "MovingRanges") -> Loaded:
        images = one.read(), other.read()
        pair, metadata = paired(
            images,
            self.addresses,
            name,
            self.resize,
            moving.next(*images),
            any_size=self.transform is not None,
        )
        pair = pair._replace(second=colour.luma(pair.second))
        return located(Loaded(pair, metadata), self.transform)


class MovingRanges:
    """Ranges that are found in each frame, and whose ends move by 1 % at most between two.

    The curve of gain control is that of each frame, smoothed over as many frames as networks are.
    """

    def __init__(self, rules: Ranges) -> None:
        self._rules = rules
        self._past: list[Range | None] = [None, None]
        self._curves: list[tuple[float, ...]] = [(), ()]

    def next(self, *images: Decoded) -> Ranges:
        """The ranges of the next pair."""
        return Ranges(*(self._side(place, image) for place, image in enumerate(images)))

    def _side(self, place: int, image: Decoded) -> Rule:
        rule = self._rules[place]
        image = rule.measured(image)
        return self._with_curve(place, self._with_range(place, rule, image), image)

    def _with_range(self, place: int, rule: Rule, image: Decoded) -> Rule:
        if rule.resolved or (found := rule.of(image)) is None:
            return rule
        past = self._past[place]
        if past is not None:
            ends = (torch.tensor(end, dtype=torch.float64) for end in _alternate(past, found))
            found = Range(*(end.item() for end in slow(*ends)))
        self._past[place] = found
        return replace(rule, kind="range", given=found)

    def _with_curve(self, place: int, rule: Rule, image: Decoded) -> Rule:
        if rule.agc.resolved or rule.given is None or not image.deep:
            return rule
        found, past = curve(rule, [image]), self._curves[place]
        if found and past:
            found = tuple(old + (new - old) / FRAMES for old, new in zip(past, found, strict=True))
        self._curves[place] = found = found or past
        return replace(rule, agc=Agc(rule.agc.kind, found))


def _same(value: Value) -> Value:
    return value


def _alternate(past: Range, found: Range) -> tuple[float, float, float, float]:
    return past.low, found.low, past.high, found.high


def frames_of(address: str) -> Frames:
    """The frames of a network address, or of a camera at this machine: `camera:0`."""
    scheme, _, rest = address.partition(":")
    if scheme == "camera":
        return _camera(address, int(rest))
    return _network(address)


def _network(address: str) -> Frames:
    av = pyav()
    options = {"rtsp_transport": "tcp"} if address.startswith("rtsp") else {}
    try:
        container = open_container(address, options=options, timeout=_PATIENCE)
    except (av.FFmpegError, OSError) as error:
        raise InputError(
            f"cannot connect to {address} ({reason(error)}): check the address and the network."
        ) from error
    if not container.streams.video:
        raise InputError(f"{address} holds no video: check the address.")
    if address.startswith("http") and _recorded(container):
        container.close()
        raise InputError(f"{address} is a recorded file, no camera: download it first.")
    return _decoded(container)


def _recorded(container: Any) -> bool:
    """Whether there is an end. A size alone tells little: playlists of cameras have one too."""
    whole = container.format.name in _TIMELESS and container.size > 0
    return whole or bool(container.duration and container.duration > 0)


def _decoded(container: Any) -> Frames:
    with container:
        for frame in container.decode(container.streams.video[0]):
            yield partial(pixels.decoded, frame)


def _camera(address: str, index: int) -> Frames:
    import cv2

    log = cv2.utils.logging  # where no camera is, OpenCV warns of each way it tried
    level = log.setLogLevel(log.LOG_LEVEL_ERROR)
    try:
        camera = cv2.VideoCapture(index)
    finally:
        log.setLogLevel(level)
    if not camera.isOpened():
        raise InputError(f"there is no camera {index} at this machine: check its number.", "camera")
    return _captured(camera, address)


def _captured(camera: Any, name: str) -> Frames:
    """Frames of OpenCV: BGR, or 16-bit counts of thermal cores (Y16)."""
    import cv2

    if camera.get(cv2.CAP_PROP_FOURCC) == cv2.VideoWriter.fourcc(*"Y16 "):
        camera.set(cv2.CAP_PROP_CONVERT_RGB, 0)
    try:
        while True:
            there, image = camera.read()
            if not there:
                return
            deep = image.dtype == "uint16"
            array = image[..., ::-1] if image.ndim == 3 and image.shape[2] == 3 else image.squeeze()
            white = 65535.0 if deep else 255.0
            decoded = Decoded(array, (0.0, white), deep, Metadata(16 if deep else 8))
            yield partial(_same, decoded)
    finally:
        camera.release()
