"""Gauss-Newton: move a transform to where the descriptors of both images agree best.

Compositional, with robust weights: pixels that disagree more than most count less.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from cddfuse.registration import geometry
from cddfuse.registration.geometry import Size

Kind = Literal["similarity", "affine", "homography"]

_DAMPING = 1e-3
_SETTLED = 0.01  # pixels that a step moves a corner at most when the iteration ends
_MARGIN = 2  # pixels along borders that do not count: descriptors reach over them
_FEWEST = 100


def refine(one: Tensor, other: Tensor, starts: Tensor, kind: Kind, iterations: int) -> Tensor:
    """Transforms (B, 3, 3) that bring the descriptors of both images closer together.

    Args:
        one: descriptors (1, C, H, W) of the first image.
        other: descriptors (1, C, H', W') of the second.
        starts: where to begin, (B, 3, 3); all are moved at the same time.
        kind: what a step may change.
        iterations: at most.
    """
    size: Size = (one.shape[-2], one.shape[-1])
    unit = _unit(size)
    across, down = _basis(kind, size, unit)
    inner = F.pad(
        torch.ones(1, 1, *(max(side - 2 * _MARGIN, 0) for side in size), dtype=torch.bool),
        (_MARGIN,) * 4,
    )
    own = _slopes(one, size)
    now = starts.clone()
    for _ in range(iterations):
        drawn, mask = geometry.sampled(other, now, size)
        mask = _eroded(mask) & inner
        step = _step(one, drawn, mask, own, (across, down))
        change = unit.inverse() @ _change(kind, step) @ unit
        moved = now @ change
        now = moved / moved[:, 2:, 2:]
        corners = geometry.corners(size)
        if (geometry.mapped(change, corners) - corners).abs().max() < _SETTLED:
            break
    return now


def _step(
    one: Tensor, drawn: Tensor, mask: Tensor, own: tuple[Tensor, Tensor], basis: tuple[Tensor, ...]
) -> Tensor:
    """Parameters (B, P) of the step that the linearised problem asks for."""
    error = drawn - one
    squared = error.square().sum(1)
    typical = (
        squared.masked_fill(~mask[:, 0], torch.nan)[:, ::2, ::2].flatten(1).nanmedian(1).values
    )
    typical = typical.nan_to_num(0)[:, None, None] + 1e-6
    weight = (mask[:, 0] / (1 + squared / typical)).flatten(1)
    slopes = _slopes(drawn, (drawn.shape[-2], drawn.shape[-1]))
    # The mean of both gradients makes a step right to second order.
    gx, gy = ((a + b) / 2 for a, b in zip(slopes, own, strict=True))
    xx, xy, yy, ex, ey = (
        (a * b).sum(1).flatten(1) * weight
        for a, b in ((gx, gx), (gx, gy), (gy, gy), (gx, error), (gy, error))
    )
    across, down = basis
    left = xx[..., None] * across + xy[..., None] * down
    right = xy[..., None] * across + yy[..., None] * down
    normal = (across.T @ left + down.T @ right).double()
    slope = (ex @ across + ey @ down).double()
    diagonal = normal.diagonal(dim1=1, dim2=2)
    normal = normal + torch.diag_embed(_DAMPING * diagonal + 1e-9)
    return -torch.linalg.solve(normal, slope)


def _slopes(images: Tensor, size: Size) -> tuple[Tensor, Tensor]:
    """Central differences in both directions, per half width of the image."""
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    x = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    y = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    return x * (size[1] / 4), y * (size[1] / 4)


def _eroded(mask: Tensor) -> Tensor:
    """Without what lies within two pixels of the border of a mask."""
    outside = (~mask).to(torch.float32)
    return F.max_pool2d(outside, 5, 1, 2) == 0


def _unit(size: Size) -> Tensor:
    """From pixels to coordinates in which half the width is 1, for the sake of conditioning."""
    height, width = size
    return geometry.matrix([[2 / width, 0, -1], [0, 2 / width, -height / width], [0, 0, 1]])


def _basis(kind: Kind, size: Size, unit: Tensor) -> tuple[Tensor, Tensor]:
    """How far each parameter moves each pixel, across and down: twice (H * W, P)."""
    y, x = torch.meshgrid(
        *(torch.arange(side, dtype=torch.float64) for side in size), indexing="ij"
    )
    u, v = geometry.mapped(unit, torch.stack((x.flatten(), y.flatten()), 1)).float().T
    zero, one = torch.zeros_like(u), torch.ones_like(u)
    columns = {
        "similarity": ((u, v), (-v, u), (one, zero), (zero, one)),
        "affine": ((u, zero), (v, zero), (one, zero), (zero, u), (zero, v), (zero, one)),
    }
    chosen = columns["similarity" if kind == "similarity" else "affine"]
    if kind == "homography":
        chosen = (*chosen, (-u * u, -u * v), (-u * v, -v * v))
    return torch.stack([c[0] for c in chosen], 1), torch.stack([c[1] for c in chosen], 1)


def _change(kind: Kind, step: Tensor) -> Tensor:
    """The matrices (B, 3, 3) of parameters (B, P)."""
    columns = list(step.T)
    zero, one = torch.zeros_like(columns[0]), torch.ones_like(columns[0])
    if kind == "similarity":
        a, b, x, y = columns
        rows = (one + a, -b, x, b, one + a, y, zero, zero, one)
    else:
        a, b, x, c, d, y, *tilt = columns
        rows = (one + a, b, x, c, one + d, y, *(tilt or (zero, zero)), one)
    return torch.stack(rows, -1).view(-1, 3, 3)
