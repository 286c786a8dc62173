"""Edge intensity (EI): the mean Sobel gradient magnitude of the fused image.

Unit: grey levels, of Sobel gradients without the factor 1/8. Higher is better, though noise
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
    """Mean of sqrt(Sx^2 + Sy^2): (..., B, 1, H, W) to (..., B).

    Args:
        border: padding, with the border pixels or with zeros.
    """
    total = image.new_zeros((), dtype=torch.float64)
    for band in bands(framed(image.double(), 1, border), 3):
        sy, sx = sobel(band)
        total = total + (sy * sy + sx * sx).sqrt().sum((-3, -2, -1))
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
    latex=r"\frac{1}{HW}\sum_{i,j}\sqrt{(S_x*F)_{ij}^2+(S_y*F)_{ij}^2}",
)

EI_FRAMED = replace(
    EI,
    formula=partial(edge_intensity, border="constant"),
    note="Zero padding makes the frame of the image an edge: up to 10 % higher.",
)
