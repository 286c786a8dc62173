"""Spatial frequency (SF): how much neighbouring pixels of the fused image differ.

Unit: grey levels. Range: [0, 255 sqrt 2]. Higher is better, though noise raises it too.
Source: Eskicioglu and Fisher, "Image quality measures and their performance", 1995.
"""

from dataclasses import replace

import torch
from torch import Tensor

from cddfuse.metrics.base import Metric
from cddfuse.metrics.loops import loops, of_each

_IMAGE = (-3, -2, -1)


def spatial_frequency(image: Tensor) -> Tensor:
    """Root of the mean squared step to the right plus that down: (..., B, 1, H, W) to (..., B).

    Each mean is over the steps there are, H (W - 1) and (H - 1) W. A line of pixels has none in
    one direction and its value is NaN.
    """
    height, width = image.shape[-2:]
    down, right = _steps(image)
    return (down / ((height - 1) * width) + right / (height * (width - 1))).sqrt()


def _over_pixels(image: Tensor) -> Tensor:
    down, right = _steps(image)
    return ((down + right) / (image.shape[-2] * image.shape[-1])).sqrt()


def _of_unit_range(image: Tensor) -> Tensor:
    return spatial_frequency(image) / 255


def _steps(image: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of the squared steps down and to the right, each (..., B)."""
    if compiled := loops(image):
        down, right = of_each(compiled.steps, image).unbind(-1)
        return down, right
    down, right = (image.diff(dim=dim).square() for dim in (-2, -1))
    return down.sum(_IMAGE, dtype=torch.float64), right.sum(_IMAGE, dtype=torch.float64)


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
