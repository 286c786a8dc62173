"""Average gradient (AG): the mean gradient magnitude of the fused image.

Unit: grey levels. Range: [0, 255]. Higher is better, though noise raises it too.
Source: Cui, Feng, Xu, Li and Chen, "Detail preserved fusion of visible and infrared images using
regional saliency extraction and multi-scale image decomposition", 2015.
"""

from dataclasses import replace

import torch
from torch import Tensor

from cddfuse.metrics.base import Metric


def average_gradient(image: Tensor) -> Tensor:
    """Mean of sqrt((gx^2 + gy^2) / 2) of images (..., B, 1, H, W), at least 2 x 2: (..., B).

    Gradients are central differences, one-sided at the border.
    """
    gy, gx = torch.gradient(image.double(), dim=(-2, -1))
    return ((gy.square() + gx.square()) / 2).sqrt().mean((-3, -2, -1))


def _per_step(image: Tensor) -> Tensor:
    height, width = image.shape[-2:]
    return average_gradient(image) * (height * width / ((height - 1) * (width - 1)))


AG = Metric(
    "AG",
    "Average gradient",
    average_gradient,
    over="fused",
    combine=None,
    unit="grey levels",
    range=(0, 255),
    better="higher",
    smallest=2,
    source="Cui, Feng, Xu, Li and Chen, Opt. Commun. 341, 199 (2015)",
    latex=r"\frac{1}{HW}\sum_{i,j}\sqrt{\tfrac{1}{2}\left(\nabla_x F_{ij}^2+\nabla_y F_{ij}^2"
    r"\right)}",
)

AG_PER_STEP = replace(
    AG,
    formula=_per_step,
    note="The sum over H W gradients is divided by (H - 1) (W - 1): about 0.5 % higher.",
    latex=r"\frac{1}{(H-1)(W-1)}\sum_{i,j}\sqrt{\tfrac{1}{2}\left(\nabla_x F_{ij}^2+\nabla_y F_"
    r"{ij}^2\right)}",
)
