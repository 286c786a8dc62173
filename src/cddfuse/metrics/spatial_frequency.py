"""Spatial frequency (SF): how much neighbouring pixels of the fused image differ.

Unit: grey levels. Range: [0, 255 sqrt 2]. Higher is better, though noise raises it too.
Source: Eskicioglu and Fisher, "Image quality measures and their performance", 1995.
"""

from dataclasses import replace

import torch
from torch import Tensor

from cddfuse.metrics.base import Metric

_IMAGE = (-3, -2, -1)


def spatial_frequency(image: Tensor) -> Tensor:
    """Root of the mean squared step to the right plus that down: (..., B, 1, H, W) to (..., B).

    Each mean is over the steps there are, H (W - 1) and (H - 1) W. A line of pixels has none in
    one direction and its value is NaN.
    """
    down, right = (_squares(image, dim).mean(_IMAGE, dtype=torch.float64) for dim in (-2, -1))
    return (down + right).sqrt()


def _over_pixels(image: Tensor) -> Tensor:
    down, right = (_squares(image, dim).sum(_IMAGE, dtype=torch.float64) for dim in (-2, -1))
    return ((down + right) / (image.shape[-2] * image.shape[-1])).sqrt()


def _of_unit_range(image: Tensor) -> Tensor:
    return spatial_frequency(image) / 255


def _squares(image: Tensor, dim: int) -> Tensor:
    return image.diff(dim=dim).square()


SF = Metric(
    "SF",
    "Spatial frequency",
    spatial_frequency,
    over="fused",
    combine=None,
    unit="grey levels",
    range=(0, 360.7),
    better="higher",
    source="Eskicioglu and Fisher, IEEE Trans. Commun. 43, 2959 (1995)",
    note="Means over the steps there are; the paper divides by H W, about 0.1 % lower.",
)

SF_OVER_PIXELS = replace(
    SF, formula=_over_pixels, note="Both sums divided by H W, as the paper has it."
)

SF_UNIT = replace(
    SF, formula=_of_unit_range, unit="", range=(0, 1.415), note="Of images in [0, 1]."
)
