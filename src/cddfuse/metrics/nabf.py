"""Fusion artefacts (Nabf, N^AB/F): edges of the fused image that are in neither source.

Range: [0, 1]. Lower is better.
Source: Petrovic and Xydeas, "Objective image fusion performance characterisation", 2005, as
modified by Shreyamsha Kumar, "Multifocus and multispectral image fusion based on pixel significance
using discrete cosine harmonic wavelet transform", 2013.

Not for losses: angles have no derivative at the reflected border.
"""

import math
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from cddfuse.metrics.base import Metric
from cddfuse.metrics.gradients import framed, sobel
from cddfuse.metrics.sliding import bands

_STRENGTH = (0.9999, 19, 0.5)  # N_g, k_g, s_g
_ANGLE = (0.9995, 22, 0.5)  # N_a, k_a, s_a
_T_D, _W_MIN, _L = 2, 0.001, 1.5


def gradient_artefacts(
    fused: Tensor, first: Tensor, second: Tensor, *, w_min: float = _W_MIN
) -> Tensor:
    """Mean of 1 - Q where the edge of the fused image is stronger than both, weighted by w.

    Args:
        fused: (B, 1, H, W), grey levels, at least 2 x 2.
        first: like fused.
        second: like fused.
        w_min: weight of edges weaker than the threshold T_d.

    Returns:
        (B,). NaN where all weights are 0.
    """
    artefacts = total = fused.new_zeros((), dtype=torch.float64)
    planes = torch.stack([fused, first, second]).squeeze(2).double()
    for band in bands(framed(planes, 1, "reflect"), 3):
        sy, sx = (gradient / 8 for gradient in sobel(band))
        g = (sy * sy + sx * sx).sqrt()
        image, sources = g[:1], g[1:]
        w = torch.where(sources < _T_D, w_min, sources**_L)
        ratio = torch.minimum(image, sources) / torch.maximum(image, sources)
        alpha = torch.where(g == 0, 0, (sx / sy).atan())
        aligned = ((alpha[1:] - alpha[:1]).abs() - math.pi / 2).abs() / (math.pi / 2)
        q = (_sigmoid(ratio.nan_to_num(0), *_STRENGTH) * _sigmoid(aligned, *_ANGLE)).sqrt()
        new = (image > sources).all(0)
        artefacts = artefacts + (new * (1 - q) * w).sum((0, -2, -1))
        total = total + w.sum((0, -2, -1))
    return artefacts / total


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
    note="Modified by Kumar: the loss for each source has the weight of that source.",
    latex=r"\frac{\sum_{i,j\,:\,g_F>g_A,\,g_F>g_B}\left[(1-Q_{AF})\,w_A+(1-Q_{BF})\,w_B\right]}{"
    r"\sum_{i,j}(w_A+w_B)}",
)

NABF_WRONG_ORDER = replace(
    NABF,
    formula=_wrong_order,
    note="The toolbox passes its images in the wrong order: this scores the second source.",
)

NABF_WITHOUT_FAINT = replace(
    NABF,
    formula=partial(gradient_artefacts, w_min=0),
    note="Weak edges of the sources have the weight 0 instead of 0.001.",
)
