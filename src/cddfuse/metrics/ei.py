"""Edge intensity (EI): the mean strength of the edges of the fused image.

Unit: grey levels, of Sobel's gradients without their factor 1/8. Higher is better, though noise
raises it too.
Source: Rajalingam and Priya, "Hybrid multimodality medical image fusion technique for feature
enhancement in medical diagnosis", 2018.
"""

from dataclasses import replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from cddfuse.metrics.base import Metric
from cddfuse.metrics.gradients import framed, sobel
from cddfuse.metrics.sliding import bands


def edge_intensity(
    image: Tensor, *, border: Literal["replicate", "constant"] = "replicate"
) -> Tensor:
    """Mean magnitude of the Sobel gradients: (..., B, 1, H, W) to (..., B).

    Beyond the border, it is repeated, or all is black.
    """
    total = image.new_zeros((), dtype=torch.float64)
    for band in bands(framed(image.double(), 1, border), 3):
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

EI_FRAMED = replace(
    EI,
    formula=partial(edge_intensity, border="constant"),
    note="The frame of the image counts as an edge to black, up to 10 % higher.",
)
