"""Edge preservation (Qabf, Q^AB/F): edges of the sources that the fused image preserves.

Range: [0, 0.975]. Higher is better. In float64 on CPUs without gradients; elsewhere in the type of
the images, which for float32 differs by 1e-7.
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

_GAMMA_G, _KAPPA_G, _SIGMA_G = 0.9994, 15, 0.5
_GAMMA_A, _KAPPA_A, _SIGMA_A = 0.9879, 22, 0.8


def edge_preservation(
    fused: Tensor, first: Tensor, second: Tensor, *, fold: bool = False
) -> Tensor:
    """Mean of the preservation values Q^AF and Q^BF, weighted by the edge strengths of A and B.

    Args:
        fused: (B, 1, H, W), grey levels.
        first: like fused.
        second: like fused.
        fold: treat edges of opposite direction as the same edge, as in the paper. The common
            program compares angles in (-pi/2, pi/2] as numbers. It also has a bug, left out with
            `fold`: an edge exactly as strong as in the source is scored by its strength in levels.

    Returns:
        (B,). NaN where both sources are black.
    """
    if compiled := loops(fused, first, second):
        sums = _sums_of_bands(compiled.preserved_edges, (fused, first, second), fold)
        return _score(*sums.unbind(-1))
    triples = zip(*(bands(image[:, 0], 3, 1) for image in (fused, first, second)), strict=True)
    return _score(*torch.stack(parallel_map(partial(_sums, fold=fold), triples)).sum(0))


def _score(preserved: Tensor, weights: Tensor) -> Tensor:
    # In integer levels the weakest edge of all is stronger than 1.
    return _GAMMA_G * _GAMMA_A * preserved / weights.where(weights >= 1, math.nan)


def _sums_of_bands(
    preserved_edges: Callable[..., tuple[float, float]], images: tuple[Tensor, ...], fold: bool
) -> Tensor:
    """Sums of Q w without the two factors Gamma, and of the weights w: (B, 2), compiled."""
    count, _, height, _ = images[0].shape
    planes = [image.contiguous().numpy() for image in images]
    pieces = list(product(range(count), range(0, height, MOST_ROWS)))

    def work(piece: tuple[int, int]) -> tuple[float, float]:
        number, start = piece
        triple = (plane[number, 0] for plane in planes)
        return preserved_edges(*triple, fold, start, min(start + MOST_ROWS, height))

    sums = torch.tensor(parallel_map(work, pieces), dtype=torch.float64)
    return sums.view(count, -1, 2).sum(1)


def _sums(triple: tuple[Tensor, ...], fold: bool) -> Tensor:
    """Sums of Q w without the two factors Gamma, and of the weights w: (2, B)."""
    g, slope = _edges(torch.stack(triple))
    maps = _preserved(g, slope, fold), g[1:]
    return torch.stack([image.sum(-1).double().sum((0, -1)) for image in maps])


def _edges(image: Tensor) -> tuple[Tensor, Tensor]:
    """Strength g and slope tan(alpha) of the Sobel gradients of (..., H, W), at most `_steep`."""
    sy, sx = sobel(image)
    # The root is kept away from 0, where its derivative is infinite.
    tiny = torch.finfo(image.dtype).tiny
    g = (sy * sy).addcmul_(sx, sx).clamp_(min=tiny).sqrt_()
    slope = sy / sx
    if slope.requires_grad:  # at 0 / 0 the derivative would be NaN, however it is masked later
        vertical = sx == 0
        slope = (sy / sx.masked_fill(vertical, 1)).masked_fill(vertical, math.inf)
    steep = _steep(image)
    return g, slope.nan_to_num_(steep, steep, steep)


def _steep(image: Tensor) -> float:
    """A slope whose angle is pi / 2 up to rounding. The arctangent of larger ones is slow."""
    return 1 / torch.finfo(image.dtype).eps


def _preserved(g: Tensor, slope: Tensor, fold: bool) -> Tensor:
    """Q w without the two factors Gamma, for the first plane and each of the others."""
    fused, source = g[:1], g[1:]
    ratio = torch.minimum(fused, source).div_(torch.maximum(fused, source))  # G^AF
    if not fold:
        # Where both are equally strong, and only there, the ratio is 1 and so is its floor.
        ratio.addcmul_(ratio.floor(), fused - 1)
    # A^AF = 1 - |alpha_A - alpha_F| / (pi / 2) is the arctangent below times 2 / pi: one for each
    # pair of angles instead of one for each angle.
    difference = (slope[1:] - slope[:1]).abs_().clamp_(min=1 / _steep(slope))
    aligned = (slope[1:] * slope[:1]).add_(1).div_(difference).clamp_(max=_steep(slope)).atan_()
    if fold:
        aligned = aligned.abs()
    q_g = torch.rsub(ratio, -_SIGMA_G * _KAPPA_G, alpha=-_KAPPA_G).sigmoid_()
    scale = 2 / math.pi * _KAPPA_A
    q_a = torch.rsub(aligned, -_SIGMA_A * _KAPPA_A, alpha=-scale).sigmoid_()
    return source * q_g * q_a


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
    note="Angles are not folded; zero padding makes the frame of the image an edge.",
    latex=r"\frac{\sum_{i,j}\left(Q_{AF}\,g_A+Q_{BF}\,g_B\right)}{\sum_{i,j}\left(g_A+g_B"
    r"\right)},\quad Q_{XF}=\frac{\Gamma_g}{1+e^{-\kappa_g(G_{XF}-\sigma_g)}}\cdot\frac"
    r"{\Gamma_\alpha}{1+e^{-\kappa_\alpha(A_{XF}-\sigma_\alpha)}}",
)

QABF_FOLDED = replace(
    QABF,
    formula=partial(edge_preservation, fold=True),
    range=(0, 0.9748),
    note="Edges of opposite direction are the same edge: 0.02 to 0.07 higher.",
)
