"""Correlation coefficient (CC): how far fused image and source rise and fall together.

Range: [-1, 1]. Higher is better. NaN where one of the images is flat.
Source: Pearson; for fusion Deshmukh and Bhosale 2010.
"""

from torch import Tensor
from torch.linalg import vecdot

from cddfuse.metrics.base import Metric


def correlation(x: Tensor, y: Tensor) -> Tensor:
    """Pearson's coefficient of images (B, 1, H, W) and (..., B, 1, H, W): (..., B)."""
    x, y = (_centred(image.double().flatten(-3)) for image in (x, y))
    return vecdot(x, y) / (vecdot(x, x) * vecdot(y, y)).sqrt()


def _centred(image: Tensor) -> Tensor:
    return image - image.mean(-1, keepdim=True)


CC = Metric(
    "CC",
    "Correlation coefficient",
    correlation,
    over="each",
    combine="mean",
    unit="",
    range=(-1, 1),
    better="higher",
    source="Deshmukh and Bhosale, Int. J. Image Process. 4, 484 (2010)",
)
