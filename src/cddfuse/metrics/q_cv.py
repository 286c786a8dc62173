"""Perceived difference (Q_CV): what an eye sees differ between fused image and sources.

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
_SALIENCE = 5


def perceived_difference(fused: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Filtered squared error of blocks, weighted by the edges of the source in them.

    Args:
        fused: (B, 1, H, W), grey levels; each image is stretched to 0 to 255.
        first: like fused.
        second: like fused.

    Returns:
        (B,). NaN where an image is flat but not black, or both sources are black.
    """
    planes = stretched(torch.stack([fused, first, second])).squeeze(2)
    image, sources = planes[:1], planes[1:]
    down, left = sobel(framed(sources, 1, "constant"))
    salience = _blocks((down * down + left * left) ** (_SALIENCE / 2))
    sight = _sensitivity(radius(planes, 1 / 8))
    error = _blocks(filtered(sources - image, sight).square())
    return (salience * error).sum((0, -2, -1)) / salience.sum((0, -2, -1))


def _blocks(image: Tensor) -> Tensor:
    """Means over blocks, those at the right and the bottom being filled up with zeros."""
    missing = [-side % _BLOCK for side in image.shape[-2:]]
    return F.avg_pool2d(F.pad(image, (0, missing[1], 0, missing[0])), _BLOCK)


def _sensitivity(frequency: Tensor) -> Tensor:
    """Mannos and Sakrison's curve."""
    return 2.6 * (0.0192 + 0.144 * frequency) * (-((0.144 * frequency) ** 1.1)).exp()


Q_CV = Metric(
    "Q_CV",
    "Perceived difference",
    perceived_difference,
    over="both",
    combine=None,
    unit="squared grey levels",
    range=(0, math.inf),
    better="lower",
    source="Chen and Varshney, Inf. Fusion 8, 193 (2007)",
    note="Images are stretched first.",
)
