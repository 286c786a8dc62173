"""Coordinates: matrices that map pixels of one image to pixels of another.

A matrix (..., 3, 3), float64, maps homogeneous coordinates (x, y, 1) of the first image to those of
the second. The centre of the top left pixel is (0, 0).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int]  # height, width


def translation(x: float, y: float) -> Tensor:
    """The matrix of a shift."""
    return matrix([[1, 0, x], [0, 1, y], [0, 0, 1]])


def scaling(x: float, y: float) -> Tensor:
    """The matrix of `resized`: from pixels of an image to those of one x times as wide."""
    return matrix([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])


def matrix(rows: Sequence[Sequence[float]]) -> Tensor:
    """A matrix of its rows."""
    return torch.tensor(rows, dtype=torch.float64)


def resized(image: Tensor, size: Size) -> tuple[Tensor, Tensor]:
    """Images (B, C, H, W) at another size, and the matrix from their pixels to the new ones."""
    height, width = image.shape[-2:]
    change = scaling(size[1] / width, size[0] / height)
    if size == (height, width):
        return image, change
    return F.interpolate(image, size, mode="bilinear", antialias=True), change


def scaled(image: Tensor, factor: float) -> tuple[Tensor, Tensor]:
    """Images (B, C, H, W) `factor` times as large, at most 1, and the matrix to the new pixels.

    Both directions have the same scale, so a rotation stays one; a part of a pixel may be lost.
    """
    if factor == 1:
        return image, scaling(1, 1)
    small = F.interpolate(image, scale_factor=factor, mode="bilinear", antialias=True)
    return small, scaling(factor, factor)


def centre(size: Size) -> tuple[float, float]:
    """Coordinates (x, y) of the centre."""
    return (size[1] - 1) / 2, (size[0] - 1) / 2


def corners(size: Size) -> Tensor:
    """The four corners, (4, 2)."""
    right, bottom = size[1] - 1, size[0] - 1
    return torch.tensor(((0, 0), (right, 0), (right, bottom), (0, bottom)), dtype=torch.float64)


def lattice(size: Size, count: int = 9) -> Tensor:
    """Points spread over an image, (count * count, 2)."""
    x, y = (torch.linspace(0, side - 1, count, dtype=torch.float64) for side in (size[1], size[0]))
    return torch.cartesian_prod(x, y)


def mapped(matrices: Tensor, points: Tensor) -> Tensor:
    """Points (N, 2) under matrices (..., 3, 3): (..., N, 2)."""
    homogeneous = F.pad(points, (0, 1), value=1.0) @ matrices.mT
    return homogeneous[..., :2] / homogeneous[..., 2:]


def distance(one: Tensor, other: Tensor, size: Size) -> Tensor:
    """Mean distance in pixels of what two matrices (..., 3, 3) make of an image of that size."""
    points = lattice(size)
    return (mapped(one, points) - mapped(other, points)).norm(dim=-1).mean(-1)


def grids(matrices: Tensor, size: Size, source: Size) -> Tensor:
    """What `grid_sample` takes, (B, H, W, 2), float32, for matrices (B, 3, 3).

    Args:
        matrices: from pixels of the result to those of the source.
        size: of the result.
        source: size of the image that is sampled.
    """
    inner = (max(source[1] - 1, 1), max(source[0] - 1, 1))
    unit = matrix([[2 / inner[0], 0, -1], [0, 2 / inner[1], -1], [0, 0, 1]])
    rows = (unit @ matrices).float()
    x, y = (torch.arange(side, dtype=torch.float32) for side in (size[1], size[0]))
    x, y = x[None, None, :], y[None, :, None]
    a = [[rows[:, i, j, None, None] for j in range(3)] for i in range(3)]
    across, down, depth = (a[i][0] * x + (a[i][1] * y + a[i][2]) for i in range(3))
    return torch.stack((across, down), -1) / depth[..., None]


def sampled(images: Tensor, matrices: Tensor, size: Size) -> tuple[Tensor, Tensor]:
    """Images (1 or B, C, H, W) drawn by matrices (B, 3, 3), and where they are covered.

    Returns:
        (B, C, *size), bilinear, 0 outside; and a mask (B, 1, *size).
    """
    grid = grids(matrices, size, (images.shape[-2], images.shape[-1]))
    images = images.expand(len(grid), -1, -1, -1)
    drawn = F.grid_sample(images, grid, padding_mode="zeros", align_corners=True)
    return drawn, (grid.abs() <= 1).all(-1)[:, None]
