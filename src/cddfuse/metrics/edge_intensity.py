"""Edge intensity (EI): the mean strength of the edges of the fused image.

Unit: grey levels, of Sobel's gradients without their factor 1/8. Higher is better, though noise
raises it too.
Source: Rajalingam and Priya, "Hybrid multimodality medical image fusion technique for feature
enhancement in medical diagnosis", 2018.
"""

import torch
from torch import Tensor

from cddfuse.metrics.base import Metric
from cddfuse.metrics.gradients import framed, sobel
from cddfuse.metrics.windows import bands


def edge_intensity(image: Tensor) -> Tensor:
    """Mean magnitude of the Sobel gradients, border repeated: (..., B, 1, H, W) to (..., B)."""
    total = image.new_zeros((), dtype=torch.float64)
    for band in bands(framed(image.double(), 1, "replicate"), 3):
        down, left = sobel(band)
        total = total + (down * down + left * left).sqrt().sum((-3, -2, -1))
    return total / (image.shape[-2] * image.shape[-1])


EI = Metric(
    "EI",
    "Edge intensity",
    edge_intensity,
    over="fused",
    combine=None,
    unit="grey levels",
    range=(0, 1141),
    better="higher",
    source="Rajalingam and Priya, Int. J. Eng. Sci. Invent. 2, 52 (2018)",
)
