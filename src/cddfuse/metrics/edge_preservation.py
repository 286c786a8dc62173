"""Edge preservation (Qabf, Q^AB/F): how well the edges of the sources survive in the fused image.

Range: [0, 0.975]. Higher is better. In float32 if the images are, to 1e-7 of the value in float64.
Source: Xydeas and Petrovic, "Objective image fusion performance measure", 2000.
"""

import math
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import pad

from cddfuse.metrics.base import Metric
from cddfuse.metrics.gradients import sobel
from cddfuse.metrics.threads import over
from cddfuse.metrics.windows import bands

_STRENGTH = (0.9994, 15, 0.5)
_ANGLE = (0.9879, 22, 0.8)


def edge_preservation(
    fused: Tensor, first: Tensor, second: Tensor, *, fold: bool = False
) -> Tensor:
    """Preserved share of the edges of both sources, weighted by their strength.

    Args:
        fused: (B, 1, H, W), grey levels.
        first: like fused.
        second: like fused.
        fold: take edges of opposite direction for the same edge, as the paper has it; the program
            everyone uses compares angles in (-pi/2, pi/2] as plain numbers. Also without that
            program's slip that an edge exactly as strong as in the source is scored by its
            strength in grey levels.

    Returns:
        (B,). NaN where both sources are black.
    """
    planes = torch.stack([pad(image[:, 0], (1, 1, 1, 1)) for image in (fused, first, second)])
    kept, there = torch.stack(over(partial(_sums, fold=fold), bands(planes, 3))).sum(0)
    # In whole levels the weakest edge of all is stronger than 1.
    return _STRENGTH[0] * _ANGLE[0] * kept / there.where(there >= 1, math.nan)


def _sums(band: Tensor, fold: bool) -> Tensor:
    """What is kept of the edges and how strong they are: (2, B)."""
    strength, angle = _edges(band)
    maps = _kept(strength, angle, fold), strength[1:]
    return torch.stack([image.sum((0, -2, -1), dtype=torch.float64) for image in maps])


def _edges(image: Tensor) -> tuple[Tensor, Tensor]:
    """Strength and angle, in (-pi/2, pi/2], of the Sobel gradients of (..., H + 2, W + 2)."""
    down, left = sobel(image)
    # The root is kept away from 0 for the sake of its derivative.
    tiny = torch.finfo(image.dtype).tiny
    strength = (down * down).addcmul_(left, left).clamp_(min=tiny).sqrt_()
    slope = down / left
    if slope.requires_grad:  # at 0 / 0 the derivative would be NaN, however it is masked later
        upright = left == 0
        slope = (down / left.masked_fill(upright, 1)).masked_fill(upright, math.inf)
    steep = torch.finfo(image.dtype).max
    return strength, slope.nan_to_num_(steep, steep, steep).atan_()


def _kept(strength: Tensor, angle: Tensor, fold: bool) -> Tensor:
    """What the first plane keeps of the strength of each of the others, the two tops left out."""
    fused, source = strength[:1], strength[1:]
    ratio = torch.minimum(fused, source).div_(torch.maximum(fused, source))
    turn = (angle[1:] - angle[:1]).abs_()
    if fold:
        turn = torch.minimum(turn, math.pi - turn)
    else:
        # Where both are equally strong, and only there, the ratio is 1 and so is its floor.
        ratio.addcmul_(ratio.floor(), fused - 1)
    _, slope, middle = _STRENGTH
    strength_lost = torch.rsub(ratio, middle * slope, alpha=slope).exp_()
    _, slope, middle = _ANGLE
    angle_lost = torch.rsub(turn, (middle - 1) * slope, alpha=-2 * slope / math.pi).exp_()
    return source / (1 + strength_lost).mul_(1 + angle_lost)


QABF = Metric(
    "Qabf",
    "Edge preservation",
    edge_preservation,
    over="both",
    combine=None,
    unit="",
    range=(0, 0.9754),
    better="higher",
    source="Xydeas and Petrovic, Electron. Lett. 36, 308 (2000)",
    note="Angles unfolded, the frame of the image counts as an edge to black.",
)

QABF_FOLDED = replace(
    QABF,
    formula=partial(edge_preservation, fold=True),
    range=(0, 0.9748),
    note="Edges of opposite direction are the same edge, 0.02 to 0.07 higher.",
)
