"""A feature map that is updated in place, which saves the memory of a second one.

A layer reads one pixel around each patch, so its result must not overwrite what the patches around
have yet to read. It is written one band of patches higher up in the same memory, or lower down, in
turn; what it overwrites has been read by then, as patches are begun in the order of `ready`.
"""

from collections.abc import Sequence

from torch import Tensor

from cddfuse.runtime.patches import Patch


def spare_rows(cut: Sequence[Patch], at_once: int) -> int:
    """Spare rows that the memory of a map needs.

    Args:
        cut: all patches of the image, in rows.
        at_once: patches that are in work at a time: the more, the more bands must lie between what
            is read and what is written.
    """
    of_band = sum(patch.top == cut[0].top for patch in cut)
    bands = -(-(at_once + 1) // of_band)
    tallest = max(patch.bottom - patch.top for patch in cut)
    return min(bands * tallest + 1, cut[-1].bottom)


class Rolling:
    """A feature map with spare rows.

    Args:
        memory: (rows, W, channels), `spare_rows` more than the map.
        cut: the patches of the image.
    """

    def __init__(self, memory: Tensor, cut: Sequence[Patch]) -> None:
        self._memory = memory
        self._cut = cut
        self._height = cut[-1].bottom
        self._start = 0

    def now(self) -> Tensor:
        """The current map."""
        return self._memory[self._start :][: self._height]

    def other(self) -> Tensor:
        """Where the next result is written."""
        return self._memory[self._opposite() :][: self._height]

    def ready(self) -> Sequence[Patch]:
        """The patches in the order in which work on them must begin."""
        return self._cut if self._opposite() < self._start else self._cut[::-1]

    def turn(self) -> None:
        """Make the result the current map."""
        self._start = self._opposite()

    def _opposite(self) -> int:
        return len(self._memory) - self._height - self._start
