"""Contrast preservation (Q_CB): how well the contrasts that an eye perceives are kept.

Range: [0, 1]. Higher is better. Not to be relied on where an image is black over an area wider than
the filters: the contrast there is a quotient of what the Fourier transform leaves of zeros, and
moves the score by up to 0.5 % from one library (or number of threads) to another; if exactly zeros
are left, the score is NaN.
Source: Chen and Blum, "A new automated quality assessment algorithm for image fusion", 2009, with
the constants of the program of Liu et al., "Objective assessment of multiresolution image fusion
algorithms", 2012.
"""

import math

import torch
from torch import Tensor

from cddfuse.metrics.base import Metric
from cddfuse.metrics.frequencies import filtered, radius
from cddfuse.metrics.gradients import framed, stretched
from cddfuse.metrics.sliding import bands, blur

_REACH = 15  # pixels that the local means look at to each side
_FINE, _COARSE = 2, 4  # their Gaussians
_FLOOR = 1e-4


def contrast_preservation(fused: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Kept share of the local contrasts of both sources, weighted by their squares.

    Args:
        fused: (B, 1, H, W), grey levels; each image is stretched to 0 to 255.
        first: like fused.
        second: like fused.

    Returns:
        (B,).
    """
    planes = stretched(torch.stack([fused, first, second])).squeeze(2)
    sight = _sensitivity(radius(planes, 1 / 30))
    planes = framed(filtered(planes, sight), _REACH, "constant")
    total = planes.new_zeros(())
    for band in bands(planes, 2 * _REACH + 1):
        contrast = (blur(band, _bell(_FINE)) / blur(band, _bell(_COARSE)) - 1).abs()
        contrast = contrast**3 / (contrast**2 + _FLOOR)
        image, sources = contrast[:1], contrast[1:]
        kept = torch.minimum(image, sources) / torch.maximum(image, sources)
        salience = sources.square()
        total = total + ((salience * kept).sum(0) / salience.sum(0)).sum((-2, -1))
    return total / (fused.shape[-2] * fused.shape[-1])


def _sensitivity(frequency: Tensor) -> Tensor:
    """Difference of Gaussians."""
    return (-((frequency / 15.3870) ** 2)).exp() - 0.7622 * (-((frequency / 1.3456) ** 2)).exp()


def _bell(sigma: float) -> list[float]:
    """Not cut off and normalised again: with the frame of zeros this decides values at borders."""
    places = range(-_REACH, _REACH + 1)
    return [math.exp(-((i / sigma) ** 2) / 2) / (sigma * math.sqrt(2 * math.pi)) for i in places]


Q_CB = Metric(
    "Q_CB",
    "Contrast preservation",
    contrast_preservation,
    over="both",
    combine=None,
    unit="",
    range=(0, 1),
    better="higher",
    source="Chen and Blum, Image Vis. Comput. 27, 1421 (2009)",
    note="Images are stretched first. Wide black areas are decided by rounding.",
)
