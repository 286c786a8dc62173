"""A hint at the small network where fusing will take long."""

import time
from collections.abc import Callable

from cddfuse.models import MODELS, FusionModel
from cddfuse.models.base import Task

SMALL = "cddfuse_small"
_LONG = 600  # seconds
_ENOUGH = 0.2  # share of an image from which its time can be told
_WORTH = 10  # times that the small network must be faster
# Its layers are so small that a multiply-add takes longer than in large ones (docs/runtime.md).
_SLOWER = 2.5


class Hint:
    """Foresees how long a run takes, and says once that the small network would be faster.

    Args:
        pairs: how many pairs there are; None if nobody knows.
        share: of the time that the small network would take; None where it is no alternative.
        say: prints a line.
        clock: seconds.
    """

    def __init__(
        self,
        pairs: int | None,
        share: Callable[[], float | None],
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._left = pairs
        self._share = share
        self._say = say
        self._clock = clock
        self._image = 1.0, 0.0
        self._ends: list[float] = []
        self._said = False

    def after_part(self, share: float) -> None:
        """Call with the finished share of the pair that is being fused."""
        begun, since = self._image
        if share <= begun:  # the next pair: what came before, reading and compiling, is not counted
            self._image = share, self._clock()
        elif share - begun >= _ENOUGH:
            self._foresee((self._clock() - since) / (share - begun))
            self._image = 1.0, 0.0

    def after_pair(self) -> None:
        """Call when a pair is done."""
        self._image = 1.0, 0.0
        self._left = self._left and self._left - 1
        self._ends = [*self._ends[-2:], self._clock()]
        if (
            len(self._ends) == 3
        ):  # the first one includes what is done once; one may be an exception
            first, second, third = self._ends
            self._foresee(min(third - second, second - first))

    def _foresee(self, each: float) -> None:
        seconds = each * (self._left or 0)
        if self._said or seconds <= _LONG:
            return
        self._said = True
        share = self._share()
        if share is not None and share * _WORTH <= 1:
            self._say(
                f"this takes about {_rounded(seconds)} more: --model {SMALL} would take about "
                f"{_rounded(seconds * share)}"
            )


def share_of_time(model: FusionModel, task: Task | None) -> float | None:
    """The time that the small network takes, as a share of that of another one on the same CPU.

    None where it is no alternative: on a GPU, without trained weights for the task, or where the
    cost of the other network is not known.

    Args:
        model: the other network.
        task: that of its weights; None for weights of which nobody knows.
    """
    from cddfuse.cli.models import multiply_adds  # counts, which needs half a second

    small = MODELS[SMALL]
    device = next((weight.device.type for weight in model.parameters()), "cpu")
    known = MODELS.get(model.card.name)
    trained = any(weights.task == task for weights in small.card.weights.values())
    if known is None or not known.card.parameters or not trained or device != "cpu":
        return None
    return _SLOWER * multiply_adds(small) / multiply_adds(known)


def _rounded(seconds: float) -> str:
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} minutes"
    return f"{seconds / 3600:.1f} hours"
