"""Mean squared error (MSE) between the fused image and each source.

Unit: squared grey levels. Range: [0, 65025]. Lower is better.
Source: Jagalingam and Hegde, "A review of quality metrics for fused image", 2015.
"""

from dataclasses import replace

import torch
from torch import Tensor

from cddfuse.metrics.base import Metric


def mean_squared_error(x: Tensor, y: Tensor) -> Tensor:
    """Mean squared difference of images (B, 1, H, W) and (..., B, 1, H, W): (..., B)."""
    return (x - y).square().mean((-3, -2, -1), dtype=torch.float64)


def _of_unit_range(x: Tensor, y: Tensor) -> Tensor:
    return mean_squared_error(x, y) / 255**2


MSE = Metric(
    "MSE",
    "Mean squared error",
    mean_squared_error,
    over="each",
    combine="mean",
    unit="squared grey levels",
    range=(0, 65025),
    better="lower",
    source="Jagalingam and Hegde, Aquatic Procedia 4, 133 (2015)",
    latex=r"\frac{1}{HW}\sum_{i,j}(F_{ij}-X_{ij})^2",
)

MSE_UNIT = replace(
    MSE,
    formula=_of_unit_range,
    unit="",
    range=(0, 1),
    note="Of images in [0, 1].",
    latex=r"\frac{1}{HW}\sum_{i,j}\left(\frac{F_{ij}-X_{ij}}{255}\right)^2",
)
