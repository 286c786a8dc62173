"""A volume on the grid of another: trilinear interpolation by the affines of both."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from cddfuse.io.volumes.volume import Affine

_SAMPLES = 32  # along each axis, to measure an overlap
_SAME = 1e-3  # of a voxel


class Resampled(NamedTuple):
    """Values at some points."""

    values: NDArray[np.float32]
    inside: NDArray[np.bool_]
    """Whether a point lies within a voxel of the volume."""


def same_grid(shapes: tuple[tuple[int, ...], ...], affines: tuple[Affine, Affine]) -> bool:
    """Whether two grids agree to a thousandth of a voxel everywhere."""
    if shapes[0] != shapes[1]:
        return False
    corners = np.array(np.meshgrid(*[(0, size - 1) for size in shapes[0]], [1])).reshape(4, -1)
    moved = np.linalg.inv(affines[1]) @ affines[0] @ corners
    return bool(np.abs(moved - corners).max() < _SAME)


def sample(
    values: NDArray[np.float32], to_voxels: Affine, shape: tuple[int, int], number: int
) -> Resampled:
    """One slice of a volume on another grid.

    Args:
        values: (I, J, K), without NaN.
        to_voxels: (4, 4), from (column, row, slice, 1) of the other grid to voxel numbers.
        shape: rows and columns of the slice.
        number: of the slice.
    """
    rows, columns = np.indices(shape, np.float64)
    points = to_voxels[:3, 0] * columns[..., None] + to_voxels[:3, 1] * rows[..., None]
    points += to_voxels[:3, 2] * number + to_voxels[:3, 3]
    sizes = np.array(values.shape)
    inside = _inside(points, sizes)
    # grid_sample wants the last axis first, and counts from the outer borders of the voxels.
    grid = torch.from_numpy(((2 * points + 1) / sizes - 1)[..., ::-1].astype(np.float32))
    found = F.grid_sample(
        torch.from_numpy(values)[None, None],
        grid[None, None],
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    return Resampled(found[0, 0, 0].numpy(), inside)


def overlap(shape: tuple[int, ...], affine: Affine, other: tuple[int, ...], of: Affine) -> float:
    """Share of a grid that another covers."""
    axes = [np.linspace(0, size - 1, min(size, _SAMPLES)) for size in shape]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    matrix = np.linalg.inv(of) @ affine
    moved = points @ matrix[:3, :3].T + matrix[:3, 3]
    return float(_inside(moved, np.array(other)).mean())


def _inside(points: NDArray[np.float64], sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
    reach = 0.5 + 1e-6
    return np.asarray(((points >= -reach) & (points <= sizes - 1 + reach)).all(-1))
