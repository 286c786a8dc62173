"""Cross entropy (CE): how far the grey levels of the fused image are spread unlike the sources'.

Unit: bits. Lower is better; below 0 is possible, as levels that only one image has are left out.
Source: Bulanon, Burks and Alchanatis, "Image fusion of visible and thermal images for fruit
detection", 2009. What the field calls by this name is a divergence, not a cross entropy.
"""

import math

import torch
from torch import Tensor

from cddfuse.metrics.base import Metric
from cddfuse.metrics.histograms import histogram


def cross_entropy(fused: Tensor, source: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the source's levels from the fused image's, in bits.

    Args:
        fused: (B, 1, H, W), whole grey levels from 0 to 255.
        source: like fused, or with more dimensions in front: (..., B, 1, H, W).

    Returns:
        (..., B), over the levels that both images have.
    """
    p, q = histogram(source), histogram(fused)
    both = (p > 0) & (q > 0)
    return torch.where(both, p * (p / q).log2(), 0).sum(-1)


CE = Metric(
    "CE",
    "Cross entropy",
    cross_entropy,
    over="each",
    combine="mean",
    unit="bits",
    range=(-math.inf, math.inf),
    better="lower",
    source="Bulanon, Burks and Alchanatis, Biosyst. Eng. 103, 12 (2009)",
)
