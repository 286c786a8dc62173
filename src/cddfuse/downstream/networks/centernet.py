"""CenterNet: objects as peaks of a heat map of centres, with the size of the box at each.

Paper: Zhou, Wang and Kraehenbuehl, "Objects as Points", arXiv:1904.07850. Ours: a small backbone
with a top-down path to stride 4, sizes in logarithms, and a width of the peaks that grows with the
box. Boxes need no suppression.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cddfuse.datasets.labels import Box
from cddfuse.downstream.networks.backbone import Backbone, convolution

STRIDE = 4
_PRIOR = -4.0  # logit of a centre at first, for most places are none
_EDGE = 1e-4
_SPREAD, _NARROWEST = 6, 0.6  # of a peak: sigma is a sixth of the box, in cells of the map


class Targets(NamedTuple):
    """What the network should say of a batch, in cells of the map."""

    heat: Tensor
    """(B, classes, h, w), 1 at centres."""

    sizes: Tensor
    """(B, 4, h, w): offset of the centre in its cell, logarithms of width and height."""

    centres: Tensor
    """(B, 1, h, w), 1 at centres."""

    counted: Tensor
    """(B, classes, h, w), 0 within boxes that are ignored."""


class Detections(NamedTuple):
    """Boxes of one image, the surest first."""

    scores: Tensor
    """(n,)"""

    classes: Tensor
    """(n,)"""

    corners: Tensor
    """(n, 4): left, top, right, bottom in pixels."""


class CenterNet(nn.Module):
    """The detector. 0.4 million parameters on the small backbone."""

    def __init__(self, backbone: Backbone, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        fine, middle, coarse = backbone.widths
        self.from_coarse = nn.Conv2d(coarse, middle, 1)
        self.from_middle = nn.Conv2d(middle, fine, 1)
        self.mix = convolution(middle, middle)
        self.out = convolution(fine, fine)
        self.heat = nn.Sequential(convolution(fine, fine), nn.Conv2d(fine, classes, 1))
        self.size = nn.Sequential(convolution(fine, fine), nn.Conv2d(fine, 4, 1))
        head = self.heat[1]
        assert isinstance(head, nn.Conv2d)
        assert head.bias is not None
        nn.init.constant_(head.bias, _PRIOR)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) to logits of centres (B, classes, H/4, W/4) and sizes (B, 4, H/4, W/4)."""
        fine, middle, coarse = self.backbone(image)
        middle = self.mix(middle + F.interpolate(self.from_coarse(coarse), middle.shape[-2:]))
        fine = self.out(fine + F.interpolate(self.from_middle(middle), fine.shape[-2:]))
        return self.heat(fine), self.size(fine)


def targets(boxes: Sequence[Sequence[Box]], classes: int, height: int, width: int) -> Targets:
    """The targets for the boxes of a batch of images of (height, width)."""
    rows, columns = height // STRIDE, width // STRIDE
    heat = torch.zeros(len(boxes), classes, rows, columns)
    sizes, centres = (
        heat.new_zeros(len(boxes), 4, rows, columns),
        heat.new_zeros(len(boxes), 1, rows, columns),
    )
    counted = torch.ones_like(heat)
    for place, found in enumerate(boxes):
        for box in found:
            left, top, right, bottom = (corner / STRIDE for corner in box.corners)
            if box.ignored:
                window = slice(int(top), math.ceil(bottom)), slice(int(left), math.ceil(right))
                counted[place, box.label][window] = 0
                continue
            x, y, across, down = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
            column, row = min(int(x), columns - 1), min(int(y), rows - 1)
            peak = _bell(rows, row, down)[:, None] * _bell(columns, column, across)
            heat[place, box.label] = torch.maximum(heat[place, box.label], peak)
            size = x - column, y - row, math.log(max(across, 0.5)), math.log(max(down, 0.5))
            sizes[place, :, row, column] = torch.tensor(size)
            centres[place, 0, row, column] = 1
    return Targets(heat, sizes, centres, counted)


def _bell(count: int, centre: int, extent: float) -> Tensor:
    sigma = max(extent / _SPREAD, _NARROWEST)
    return torch.exp(-((torch.arange(count) - centre) ** 2) / (2 * sigma**2))


def loss(heat: Tensor, sizes: Tensor, wanted: Targets) -> Tensor:
    """Focal loss of the centres (equation 1 of the paper) and L1 loss of the sizes."""
    chance = heat.sigmoid().clamp(_EDGE, 1 - _EDGE)
    peak = (wanted.heat == 1).float()
    count = peak.sum().clamp(min=1)
    at_peaks = peak * (1 - chance) ** 2 * chance.log()
    around = (1 - peak) * (1 - wanted.heat) ** 4 * chance**2 * (1 - chance).log()
    centres = -((at_peaks + around) * torch.maximum(wanted.counted, peak)).sum() / count
    return centres + ((sizes - wanted.sizes).abs() * wanted.centres).sum() / count


def decode(heat: Tensor, sizes: Tensor, most: int = 100) -> list[Detections]:
    """The peaks of each image of a batch as boxes.

    Args:
        heat: logits of `CenterNet`.
        sizes: of `CenterNet`.
        most: boxes of an image.
    """
    chance = heat.sigmoid()
    chance = chance * (F.max_pool2d(chance, 3, 1, 1) == chance)
    rows, columns = heat.shape[-2:]
    found = []
    for peaks, size in zip(chance, sizes, strict=True):
        scores, places = peaks.flatten().topk(min(most, peaks.numel()))
        classes, cells = places // (rows * columns), places % (rows * columns)
        row, column = cells // columns, cells % columns
        x, y, across, down = size[:, row, column]
        centre, half = torch.stack([column + x, row + y]), torch.stack([across, down]).exp() / 2
        corners = torch.cat([centre - half, centre + half]).T * STRIDE
        found.append(Detections(scores, classes, corners))
    return found
