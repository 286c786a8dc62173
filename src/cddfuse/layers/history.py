"""Statistics of the whole image, smoothed over the frames of a clip so that it does not flicker.

A network that computes something from all pixels of an image passes it through `steady`. While a
frame of a clip is fused (`History.frame`), that gives the value smoothed over the frames so far;
everywhere else it changes nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from cddfuse.errors import InputError

FRAMES = 30
# Attention matrices of successive frames differ by 1 % of their norm at most; those of two scenes
# by 10 % and more.
_CUT = 0.1
_STEP = 0.01  # of a range, by which its ends move at most from frame to frame


class History:
    """What a clip remembers of its earlier frames. One thread fuses the frames, in order.

    Args:
        frames: time constant of the exponential smoothing; 1 lets every frame stand for itself.
    """

    def __init__(self, frames: int = FRAMES) -> None:
        if frames < 1:
            raise InputError(f"cannot smooth over {frames} frames: use 1 or more.", "steady")
        self._frames = frames
        self._past: list[Tensor] = []
        self._present: list[Tensor] = []
        self._cut = False

    @contextmanager
    def frame(self) -> Iterator[None]:
        """Within, one frame is fused. It counts for the next ones if it ends without an error."""
        token = _current.set(self)
        self.restart()
        try:
            yield
        finally:
            _current.reset(token)
        self._past = self._present

    def restart(self) -> None:
        """Begin the frame again."""
        self._present, self._cut = [], False

    def smoothed(self, value: Tensor) -> Tensor:
        """The next value of this frame, smoothed; as it is in the first frame after a cut."""
        past = self._counterpart(value)
        if past is not None and not self._cut:
            self._cut = bool((value - past).norm() > _CUT * past.norm())
        if past is not None and not self._cut:
            value = past.lerp(value, 1 / self._frames)
        self._present.append(value)
        return value

    def limited(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """The next range of this frame, whose ends move by 1 % of it at most."""
        past = self._counterpart(low), self._counterpart(high, 1)
        if past[0] is not None and past[1] is not None and not self._cut and self._frames > 1:
            low, high = slow(past[0], low, past[1], high)
        self._present += [low, high]
        return low, high

    def _counterpart(self, value: Tensor, ahead: int = 0) -> Tensor | None:
        """The value of the last frame in the place of the next one, or of one further ahead."""
        place = len(self._present) + ahead
        past = self._past[place] if place < len(self._past) else None
        fits = past is not None and (past.shape, past.device) == (value.shape, value.device)
        return past if fits else None


def slow(past_low: Tensor, low: Tensor, past_high: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """A range on its way from the past one: its ends move by at most 1 % of that."""
    step = _STEP * (past_high - past_low)
    return tuple(  # type: ignore[return-value]
        past + (new - past).clamp(-step, step) for past, new in ((past_low, low), (past_high, high))
    )


_current: ContextVar[History | None] = ContextVar("history", default=None)


def steady(value: Tensor) -> Tensor:
    """A statistic of the whole image; in a clip, smoothed over its frames.

    Call it in the thread that called the network, with the same statistics in the same order for
    each image.
    """
    if torch.compiler.is_compiling():  # for an exported graph
        return value
    history = _current.get()
    return value if history is None else history.smoothed(value)


def steady_range(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """The values of an image that become black and white; in a clip they move slowly."""
    history = _current.get()
    return (low, high) if history is None else history.limited(low, high)


def restart_frame() -> None:
    """What was computed so far is computed again: another way to run the network."""
    if history := _current.get():
        history.restart()
