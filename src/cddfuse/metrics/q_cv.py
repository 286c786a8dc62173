"""Chen-Varshney metric (Q_CV): perceived squared difference of the fused image to the sources.

Unit: squared grey levels. Lower is better.
Source: Chen and Varshney, "A human perception inspired quality metric for image fusion based on
regional information", 2007, with the constants of the program of Liu et al., "Objective assessment
of multiresolution image fusion algorithms", 2012.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from cddfuse.metrics.base import Metric
from cddfuse.metrics.frequencies import filtered, radius
from cddfuse.metrics.gradients import framed, sobel, stretched

_BLOCK = 16
_ALPHA = 5  # exponent of the saliency


def perceived_difference(fused: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Mean of the squared filtered difference D of blocks, weighted by their saliency lambda.

    Args:
        fused: (B, 1, H, W), grey levels; each image is stretched to 0 to 255.
        first: like fused.
        second: like fused.

    Returns:
        (B,). NaN where an image is constant but not black, or both sources are black.
    """
    planes = stretched(torch.stack([fused, first, second])).squeeze(2)
    image, sources = planes[:1], planes[1:]
    sy, sx = sobel(framed(sources, 1, "constant"))
    saliency = _blocks((sy * sy + sx * sx) ** (_ALPHA / 2))
    csf = _contrast_sensitivity(radius(planes, 1 / 8))
    d = _blocks(filtered(sources - image, csf).square())
    return (saliency * d).sum((0, -2, -1)) / saliency.sum((0, -2, -1))


def _blocks(image: Tensor) -> Tensor:
    """Means over blocks; those at the right and the bottom are padded with zeros."""
    missing = [-side % _BLOCK for side in image.shape[-2:]]
    return F.avg_pool2d(F.pad(image, (0, missing[1], 0, missing[0])), _BLOCK)


def _contrast_sensitivity(frequency: Tensor) -> Tensor:
    """The function of Mannos and Sakrison."""
    return 2.6 * (0.0192 + 0.144 * frequency) * (-((0.144 * frequency) ** 1.1)).exp()


Q_CV = Metric(
    "Q_CV",
    "Chen-Varshney metric",
    perceived_difference,
    over="both",
    combine=None,
    unit="squared grey levels",
    range=(0, math.inf),
    better="lower",
    source="Chen and Varshney, Inf. Fusion 8, 193 (2007)",
    note="Images are stretched first.",
    latex=r"\frac{\sum_{b}\left[\lambda_A(b)\,D(A-F;b)+\lambda_B(b)\,D(B-F;b)\right]}{\sum_{b}"
    r"\left[\lambda_A(b)+\lambda_B(b)\right]}",
)
