"""Slices of a grid as they are shown: axial ones from the feet, with anterior at the top.

Columns run to the left of the patient (of sagittal slices, to the back), rows to the back (of
others than axial ones, to the feet). All of these directions are negative in RAS.
"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cddfuse.errors import InputError
from cddfuse.io.volumes.options import Axis
from cddfuse.io.volumes.volume import Affine

_WORLD: dict[Axis, int] = {"sagittal": 0, "coronal": 1, "axial": 2}


@dataclass(frozen=True)
class Plane:
    """How slices lie in an array (I, J, K)."""

    axis: int
    """Array axis that slices are counted along."""

    rows: int
    """Array axis from one row to the next; columns have the remaining one."""

    columns: int
    flips: tuple[bool, bool]
    """Whether rows and columns run against the array."""

    def view(self, array: NDArray[Any], number: int) -> NDArray[Any]:
        """Slice (H, W, ...) of an array (I, J, K, ...), without a copy."""
        taken = _index(array, self.axis, number)
        if self.rows > self.columns:
            taken = taken.swapaxes(0, 1)
        down, across = (-1 if flip else 1 for flip in self.flips)
        return taken[::down, ::across]

    def placement(self, shape: tuple[int, ...]) -> Affine:
        """(4, 4): from (column, row, number of the slice, 1) to voxel numbers."""
        matrix = np.zeros((4, 4))
        matrix[3, 3] = matrix[self.axis, 2] = 1
        for place, axis, flip in (
            (0, self.columns, self.flips[1]),
            (1, self.rows, self.flips[0]),
        ):
            matrix[axis, place] = -1 if flip else 1
            matrix[axis, 3] = shape[axis] - 1 if flip else 0
        return matrix


def plane_of(affine: Affine, axis: Axis | None) -> Plane:
    """The slices of a grid along a direction of the patient; None is along the third array axis."""
    from nibabel.orientations import io_orientation

    turns = io_orientation(affine)  # type: ignore[no-untyped-call]
    world = [int(turn) for turn in turns[:, 0]]
    walked = 2 if axis is None else world.index(_WORLD[axis])
    left = [place for place in range(3) if place != walked]
    # Rows: superior where there is one, else anterior.
    rows = max(left, key=lambda place: world[place])
    columns = next(place for place in left if place != rows)
    return Plane(walked, rows, columns, (bool(turns[rows, 1] > 0), bool(turns[columns, 1] > 0)))


def numbers_of(text: str, count: int) -> range:
    """The slices of a text START:STOP:STEP, or of one number."""
    if not text:
        return range(count)
    match = re.fullmatch(r"(-?\d*):(-?\d*)(?::(\d*))?|(-?\d+)", text.strip())
    known = f"use START:STOP:STEP or one number, of 0 to {count - 1}"
    if not match or match[3] == "0":
        raise InputError(f"there are no slices {text}: {known}.", "slices")
    if match[4] is not None:
        number = int(match[4])
        found = range(count)[number : number + 1 or None] if -count <= number < count else range(0)
    else:
        start, stop, step = (int(part) if part else None for part in match.groups()[:3])
        found = range(count)[start:stop:step]
    if not found:
        raise InputError(f"there are no slices {text}: {known}.", "slices")
    return found


def _index(array: NDArray[Any], axis: int, number: int) -> NDArray[Any]:
    return array[(slice(None),) * axis + (number,)]
