"""Spatial frequency (SF): root mean square of the differences of neighbouring pixels.

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
    """sqrt(RF^2 + CF^2), the row and column frequency: (..., B, 1, H, W) to (..., B).

    The means are over the H (W - 1) and (H - 1) W differences that exist. NaN for a single row or
    column of pixels.
    """
    height, width = image.shape[-2:]
    columns, rows = _squared_differences(image)
    return (columns / ((height - 1) * width) + rows / (height * (width - 1))).sqrt()


def _over_pixels(image: Tensor) -> Tensor:
    columns, rows = _squared_differences(image)
    return ((columns + rows) / (image.shape[-2] * image.shape[-1])).sqrt()


def _of_unit_range(image: Tensor) -> Tensor:
    return spatial_frequency(image) / 255


def _squared_differences(image: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of the squared differences along columns and along rows, each (..., B)."""
    if compiled := loops(image):
        columns, rows = of_each(compiled.squared_differences, image).unbind(-1)
        return columns, rows
    columns, rows = (image.diff(dim=dim).square() for dim in (-2, -1))
    return columns.sum(_IMAGE, dtype=torch.float64), rows.sum(_IMAGE, dtype=torch.float64)


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
    note="Means over the differences that exist; the paper divides by H W: about 0.1 % lower.",
    latex=r"\sqrt{\frac{\sum_{i,j}(F_{i,j+1}-F_{ij})^2}{H(W-1)}+\frac{\sum_{i,j}(F_{i+1,j}-F_"
    r"{ij})^2}{(H-1)W}}",
)

SF_OVER_PIXELS = replace(
    SF,
    formula=_over_pixels,
    note="Both sums are divided by H W, as in the paper.",
    latex=r"\sqrt{\frac{\sum_{i,j}(F_{i,j+1}-F_{ij})^2+\sum_{i,j}(F_{i+1,j}-F_{ij})^2}{HW}}",
)

SF_UNIT = replace(
    SF,
    formula=_of_unit_range,
    unit="",
    range=(0, 1.415),
    note="Of images in [0, 1].",
    latex=r"\frac{1}{255}\sqrt{\frac{\sum_{i,j}(F_{i,j+1}-F_{ij})^2}{H(W-1)}+\frac{\sum_{i,j}(F_{i"
    r"+1,j}-F_{ij})^2}{(H-1)W}}",
)
