"""What a clip remembers from frame to frame so that its results do not flicker.

A network that computes something from all pixels of an image passes it through `steady`. While a
frame of a clip is fused (`History.frame`), that gives the value smoothed over the frames so far;
everywhere else it changes nothing.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.nn.functional as F
from torch import Tensor

from cddfuse.errors import InputError

FRAMES = 30
# Distance of the thumbnails of two frames, over their contrast: up to 0.13 between frames of one
# shot of M3SVD, 0.72 and more between its clips.
_CUT = 0.5
_THUMBNAIL = 16
_STEP = 0.01  # of a range, by which its ends move at most from frame to frame
# A pixel is at rest while both sources stay this close to what they were; noise of cameras does.
_REST = 6 / 255
_NOISE = 0.1  # share of that which still counts as rest, for noise is everywhere
_WEIGHT = 0.12  # of a new frame where everything is at rest

State = tuple[Tensor, Tensor, Tensor]
"""Both sources and the result, smoothed where they are at rest."""


class History:
    """What a clip remembers of its earlier frames. One thread fuses the frames, in order.

    Args:
        frames: time constant of the exponential smoothing of statistics, in frames.
    """

    def __init__(self, frames: int = FRAMES) -> None:
        if frames < 1:
            raise InputError(f"cannot smooth over {frames} frames: use 1 or more.", "steady")
        self._frames = frames
        self._past: list[Tensor] = []
        self._present: list[Tensor] = []
        self._thumbnails: list[Tensor] = []
        self._images: State | None = None
        self._next: tuple[list[Tensor], State | None] = ([], None)

    @contextmanager
    def frame(self) -> Iterator[None]:
        """Within, one frame is fused. It counts for the next ones if it ends without an error."""
        self._next = (self._thumbnails, self._images)
        self.restart()
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)
        self._past, (self._thumbnails, self._images) = self._present, self._next

    def begin(self, first: Tensor, second: Tensor) -> None:
        """Tell the sources; a new shot, with both sources unlike the last, forgets the old one."""
        thumbnails = [F.adaptive_avg_pool2d(image, _THUMBNAIL) for image in (first, second)]
        pairs = zip(self._thumbnails, thumbnails, strict=False)
        if self._thumbnails and all(_unlike(*pair) for pair in pairs):
            self._past, self._images = [], None
        self._next = (thumbnails, self._images)
        self.restart()

    @property
    def frames(self) -> int:
        """Time constant of the smoothing."""
        return self._frames

    @property
    def place(self) -> int:
        """How many statistics of this frame have been computed."""
        return len(self._present)

    def restart(self, place: int = 0) -> None:
        """Compute the statistics of the frame again, from a place on."""
        self._present = self._present[:place]

    @property
    def past(self) -> Sequence[Tensor]:
        """Statistics of the last frame, of those that come next in this one."""
        return self._past[len(self._present) :]

    @contextmanager
    def apart(self, past: Sequence[Tensor]) -> Iterator[Sequence[Tensor]]:
        """Within, statistics are smoothed from these; gives those that are computed meanwhile.

        Nothing of it is remembered.
        """
        kept = self._past, self._present
        self._past, self._present = list(past), []
        try:
            yield self._present
        finally:
            self._past, self._present = kept

    def adopt(self, statistics: Sequence[Tensor]) -> None:
        """Count statistics that were computed apart as those of this frame."""
        self._present += statistics

    def smoothed(self, value: Tensor) -> Tensor:
        """The next statistic of this frame, smoothed."""
        # In bf16, small steps would be rounded away.
        kept = value.to(torch.promote_types(value.dtype, torch.float32))
        past = self._counterpart(kept)
        if past is not None:
            kept = past.lerp(kept, 1 / self._frames)
        self._present.append(kept)
        return kept.to(value.dtype)

    def limited(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """The next range of this frame, whose ends move by 1 % of it at most."""
        past = self._counterpart(low), self._counterpart(high, 1)
        if past[0] is not None and past[1] is not None:
            low, high = slow(past[0], low, past[1], high)
        self._present += [low, high]
        return low, high

    def settled(self, first: Tensor, second: Tensor, fused: Tensor) -> Tensor:
        """The result, averaged over time where both sources are at rest."""
        state = (first, second, fused)
        past = self._images
        if past is not None and all(x.shape == y.shape for x, y in zip(past, state, strict=True)):
            weight = _WEIGHT + (1 - _WEIGHT) * _motion(past[:2], state[:2])
            state = tuple(  # type: ignore[assignment]
                old + weight * (new - old) for old, new in zip(past, state, strict=True)
            )
        self._next = (self._next[0], state)
        return state[2]

    def _counterpart(self, value: Tensor, ahead: int = 0) -> Tensor | None:
        """The value of the last frame in the place of the next one, or of one further ahead."""
        place = len(self._present) + ahead
        past = self._past[place] if place < len(self._past) else None
        fits = past is not None and (past.shape, past.device) == (value.shape, value.device)
        return past if fits else None


def slow(past_low: Tensor, low: Tensor, past_high: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """A range on its way from the past one: its ends move by at most 1 % of that."""
    step = _STEP * (past_high - past_low)
    return (
        past_low + (low - past_low).clamp(-step, step),
        past_high + (high - past_high).clamp(-step, step),
    )


def _unlike(past: Tensor, present: Tensor) -> bool:
    contrast = sum((image - image.mean()).norm() for image in (past, present))
    return bool((present - past).norm() > _CUT * contrast)


def _motion(past: tuple[Tensor, ...], present: tuple[Tensor, ...]) -> Tensor:
    """From 0 where both sources are at rest to 1 where one has changed, or a pixel close by.

    Close by is within 3 pixels in each direction.
    """
    changes = [(new - old).abs() for old, new in zip(past, present, strict=True)]
    change = torch.stack(changes).amax(0)
    mean = torch.stack([_mean(new - old).abs() for old, new in zip(past, present, strict=True)])
    moved = torch.maximum(change / (2 * _REST), mean.amax(0) / _REST)
    return ((_spread(moved) - _NOISE) / (1 - _NOISE)).clamp(0, 1)


def _spread(values: Tensor) -> Tensor:
    """The largest of 7 x 7 values, none negative: as `max_pool2d`, in a sixtieth of its time."""
    for axis, margins in ((-2, (0, 0, 3, 3)), (-1, (3, 3, 0, 0))):
        size, found = values.shape[axis], F.pad(values, margins)
        for step, more in ((1, 5), (2, 3), (3, 0)):  # the largest of 2, of 4, of 7
            length = size + more
            found = torch.maximum(found.narrow(axis, 0, length), found.narrow(axis, step, length))
        values = found
    return values


def _mean(image: Tensor) -> Tensor:
    """Of 3 x 3 pixels; those at a border count again beyond it."""
    for axis, margins in ((-2, (0, 0, 1, 1)), (-1, (1, 1, 0, 0))):
        size, wide = image.shape[axis], F.pad(image, margins, mode="replicate")
        image = (image + wide.narrow(axis, 0, size)).add_(wide.narrow(axis, 2, size)).div_(3)
    return image


_current: ContextVar[History | None] = ContextVar("history", default=None)


def current() -> History | None:
    """That of the clip of which a frame is being fused in this thread."""
    return _current.get()


def steady(value: Tensor) -> Tensor:
    """A statistic of the whole image; in a clip, smoothed over its frames.

    Call it in the thread that called the network, with the same statistics in the same order for
    each image.
    """
    if torch.compiler.is_compiling():  # for an exported graph
        return value
    history = _current.get()
    return value if history is None else history.smoothed(value)
