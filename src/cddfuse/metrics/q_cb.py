"""Chen-Blum metric (Q_CB): preservation of perceived local contrast.

Range: [0, 1]. Higher is better. Unreliable for images with black areas wider than the filters:
their contrast is a quotient of rounding errors of the Fourier transform, which changes the score by
up to 0.5 % between libraries (or numbers of threads); if exact zeros remain, the score is NaN.
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

_RADIUS = 15  # of the Gaussian windows
_SIGMA_FINE, _SIGMA_COARSE = 2, 4
_Z = 1e-4  # masked contrast is t C^p / (h C^q + Z) with t = h = 1, p = 3, q = 2


def contrast_preservation(fused: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Mean of the contrast preservation of both sources, weighted by saliency.

    Args:
        fused: (B, 1, H, W), grey levels; each image is stretched to 0 to 255.
        first: like fused.
        second: like fused.

    Returns:
        (B,).
    """
    planes = stretched(torch.stack([fused, first, second])).squeeze(2)
    csf = _contrast_sensitivity(radius(planes, 1 / 30))
    planes = framed(filtered(planes, csf), _RADIUS, "constant")
    total = planes.new_zeros(())
    for band in bands(planes, 2 * _RADIUS + 1):
        contrast = (
            blur(band, _gaussian(_SIGMA_FINE)) / blur(band, _gaussian(_SIGMA_COARSE)) - 1
        ).abs()
        contrast = contrast**3 / (contrast**2 + _Z)
        image, sources = contrast[:1], contrast[1:]
        q = torch.minimum(image, sources) / torch.maximum(image, sources)
        saliency = sources.square()
        total = total + ((saliency * q).sum(0) / saliency.sum(0)).sum((-2, -1))
    return total / (fused.shape[-2] * fused.shape[-1])


def _contrast_sensitivity(frequency: Tensor) -> Tensor:
    """Difference of Gaussians."""
    return (-((frequency / 15.3870) ** 2)).exp() - 0.7622 * (-((frequency / 1.3456) ** 2)).exp()


def _gaussian(sigma: float) -> list[float]:
    """Not normalised after truncation, which matters at the border, padded with zeros."""
    offsets = range(-_RADIUS, _RADIUS + 1)
    return [math.exp(-((i / sigma) ** 2) / 2) / (sigma * math.sqrt(2 * math.pi)) for i in offsets]


Q_CB = Metric(
    "Q_CB",
    "Chen-Blum metric",
    contrast_preservation,
    over="both",
    combine=None,
    unit="",
    range=(0, 1),
    better="higher",
    source="Chen and Blum, Image Vis. Comput. 27, 1421 (2009)",
    note="Images are stretched first. Unreliable for images with large black areas.",
    latex=r"\frac{1}{HW}\sum_{i,j}\frac{C_A^2\,Q_{AF}+C_B^2\,Q_{BF}}{C_A^2+C_B^2},\quad Q_{XF}="
    r"\frac{\min(C_X,C_F)}{\max(C_X,C_F)}",
)
