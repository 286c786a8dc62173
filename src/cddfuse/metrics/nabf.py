"""Fusion artefacts (Nabf, N^AB/F): edges of the fused image that neither source has.

Range: [0, 1]. Lower is better.
Source: Petrovic and Xydeas, "Objective image fusion performance characterisation", 2005, in the
form of Shreyamsha Kumar, "Multifocus and multispectral image fusion based on pixel significance
using discrete cosine harmonic wavelet transform", 2013.

Not for losses: at the mirrored border angles have no derivative.
"""

import math
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from cddfuse.metrics.base import Metric
from cddfuse.metrics.gradients import framed, sobel
from cddfuse.metrics.sliding import bands

_STRENGTH = (0.9999, 19, 0.5)
_ANGLE = (0.9995, 22, 0.5)
_FAINT, _FAINT_WEIGHT, _POWER = 2, 0.001, 1.5


def gradient_artefacts(
    fused: Tensor, first: Tensor, second: Tensor, *, faint: float = _FAINT_WEIGHT
) -> Tensor:
    """What is lost of both sources where the fused image has the strongest edge, by their weight.

    Args:
        fused: (B, 1, H, W), grey levels, at least 2 x 2.
        first: like fused.
        second: like fused.
        faint: the weight of edges weaker than 2.

    Returns:
        (B,). NaN where both sources are so faint everywhere that nothing has a weight.
    """
    invented = there = fused.new_zeros((), dtype=torch.float64)
    planes = torch.stack([fused, first, second]).squeeze(2).double()
    for band in bands(framed(planes, 1, "reflect"), 3):
        down, left = (gradient / 8 for gradient in sobel(band))
        strength = (down * down + left * left).sqrt()
        image, sources = strength[:1], strength[1:]
        weight = torch.where(sources < _FAINT, faint, sources**_POWER)
        ratio = torch.minimum(image, sources) / torch.maximum(image, sources)
        angle = torch.where(strength == 0, 0, (left / down).atan())
        aligned = ((angle[1:] - angle[:1]).abs() - math.pi / 2).abs() / (math.pi / 2)
        kept = (_sigmoid(ratio.nan_to_num(0), *_STRENGTH) * _sigmoid(aligned, *_ANGLE)).sqrt()
        new = (image > sources).all(0)
        invented = invented + (new * (1 - kept) * weight).sum((0, -2, -1))
        there = there + weight.sum((0, -2, -1))
    return invented / there


def _wrong_order(fused: Tensor, first: Tensor, second: Tensor) -> Tensor:
    return gradient_artefacts(second, first, fused)


def _sigmoid(x: Tensor, top: float, slope: float, middle: float) -> Tensor:
    return top * torch.sigmoid(slope * (x - middle))


NABF = Metric(
    "Nabf",
    "Fusion artefacts",
    gradient_artefacts,
    over="both",
    combine=None,
    unit="",
    range=(0, 1),
    better="lower",
    smallest=2,
    source="Shreyamsha Kumar, Signal Image Video Process. 7, 1125 (2013)",
    note="Kumar's modified form, which weighs each loss by its own source.",
)

NABF_WRONG_ORDER = replace(
    NABF,
    formula=_wrong_order,
    note="The toolbox hands over its images in a wrong order: this scores the second source.",
)

NABF_WITHOUT_FAINT = replace(
    NABF,
    formula=partial(gradient_artefacts, faint=0),
    note="Faint edges of the sources weigh nothing instead of 0.001.",
)
