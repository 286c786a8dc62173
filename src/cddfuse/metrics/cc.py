"""Correlation coefficient (CC) of the fused image and each source.

Range: [-1, 1]. Higher is better. NaN where one of the images is constant.
Source: Pearson; for fusion Deshmukh and Bhosale 2010.
"""

from torch import Tensor

from cddfuse.metrics.base import Metric
from cddfuse.metrics.moments import scatter


def correlation(x: Tensor, y: Tensor) -> Tensor:
    """Pearson's coefficient of images (B, 1, H, W) and (..., B, 1, H, W): (..., B)."""
    s = scatter(x, y)
    return s[..., 0, 1] / (s[..., 0, 0] * s[..., 1, 1]).sqrt()


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
    latex=r"\frac{\sum_{i,j}(F_{ij}-\bar F)(X_{ij}-\bar X)}{\sqrt{\sum_{i,j}(F_{ij}-\bar F)^2\,"
    r"\sum_{i,j}(X_{ij}-\bar X)^2}}",
)
