"""Edge preservation (Qabf, Q^AB/F): how well the edges of the sources survive in the fused image.

Range: [0, 0.975]. Higher is better. In float64 on CPUs where no derivative is asked for; elsewhere
in float32 if the images are, to 1e-7 of that.
Source: Xydeas and Petrovic, "Objective image fusion performance measure", 2000.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product

import torch
from torch import Tensor

from cddfuse.metrics.base import Metric
from cddfuse.metrics.gradients import sobel
from cddfuse.metrics.loops import loops
from cddfuse.metrics.sliding import MOST_ROWS, bands
from cddfuse.threads import parallel_map

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
    if compiled := loops(fused, first, second):
        sums = _sums_of_bands(compiled.edges_kept, (fused, first, second), fold)
        return _score(*sums.unbind(-1))
    triples = zip(*(bands(image[:, 0], 3, 1) for image in (fused, first, second)), strict=True)
    return _score(*torch.stack(parallel_map(partial(_sums, fold=fold), triples)).sum(0))


def _score(kept: Tensor, there: Tensor) -> Tensor:
    # In whole levels the weakest edge of all is stronger than 1.
    return _STRENGTH[0] * _ANGLE[0] * kept / there.where(there >= 1, math.nan)


def _sums_of_bands(
    edges_kept: Callable[..., tuple[float, float]], images: tuple[Tensor, ...], fold: bool
) -> Tensor:
    """What is kept of the edges and how strong they are: (B, 2), in compiled code."""
    count, _, height, _ = images[0].shape
    planes = [image.contiguous().numpy() for image in images]
    pieces = list(product(range(count), range(0, height, MOST_ROWS)))

    def work(piece: tuple[int, int]) -> tuple[float, float]:
        number, start = piece
        triple = (plane[number, 0] for plane in planes)
        return edges_kept(*triple, fold, start, min(start + MOST_ROWS, height))

    sums = torch.tensor(parallel_map(work, pieces), dtype=torch.float64)
    return sums.view(count, -1, 2).sum(1)


def _sums(triple: tuple[Tensor, ...], fold: bool) -> Tensor:
    """What is kept of the edges and how strong they are: (2, B)."""
    strength, slope = _edges(torch.stack(triple))
    maps = _kept(strength, slope, fold), strength[1:]
    return torch.stack([image.sum(-1).double().sum((0, -1)) for image in maps])


def _edges(image: Tensor) -> tuple[Tensor, Tensor]:
    """Strength and slope of the Sobel gradients of (..., H, W), upright ones being `_steep`."""
    down, left = sobel(image)
    # The root is kept away from 0 for the sake of its derivative.
    tiny = torch.finfo(image.dtype).tiny
    strength = (down * down).addcmul_(left, left).clamp_(min=tiny).sqrt_()
    slope = down / left
    if slope.requires_grad:  # at 0 / 0 the derivative would be NaN, however it is masked later
        upright = left == 0
        slope = (down / left.masked_fill(upright, 1)).masked_fill(upright, math.inf)
    steep = _steep(image)
    return strength, slope.nan_to_num_(steep, steep, steep)


def _steep(image: Tensor) -> float:
    """A slope whose angle is pi / 2 but for rounding. The arctangent of greater ones is slow."""
    return 1 / torch.finfo(image.dtype).eps


def _kept(strength: Tensor, slope: Tensor, fold: bool) -> Tensor:
    """What the first plane keeps of the strength of each of the others, the two tops left out."""
    fused, source = strength[:1], strength[1:]
    ratio = torch.minimum(fused, source).div_(torch.maximum(fused, source))
    if not fold:
        # Where both are equally strong, and only there, the ratio is 1 and so is its floor.
        ratio.addcmul_(ratio.floor(), fused - 1)
    # 1 - |turn| / (pi / 2), by the tangent of what is missing from the turn to a right angle; one
    # arctangent for each pair of angles is less than one for each angle.
    apart = (slope[1:] - slope[:1]).abs_().clamp_(min=1 / _steep(slope))
    aligned = (slope[1:] * slope[:1]).add_(1).div_(apart).clamp_(max=_steep(slope)).atan_()
    if fold:
        aligned = aligned.abs()
    _, steepness, middle = _STRENGTH
    strength_kept = torch.rsub(ratio, -middle * steepness, alpha=-steepness).sigmoid_()
    _, steepness, middle = _ANGLE
    scale = 2 / math.pi * steepness
    angle_kept = torch.rsub(aligned, -middle * steepness, alpha=-scale).sigmoid_()
    return source * strength_kept * angle_kept


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
