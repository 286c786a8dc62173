"""Cross entropy (CE) of the histograms of each source and the fused image.

Unit: bits. Lower is better; it can be negative, as levels that only one image has are left out.
Source: Bulanon, Burks and Alchanatis, "Image fusion of visible and thermal images for fruit
detection", 2009. In fusion, the name stands for a divergence.
"""

import math

import torch
from torch import Tensor

from cddfuse.metrics.base import Metric
from cddfuse.metrics.histograms import histogram


def cross_entropy(fused: Tensor, source: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the histogram q of the fused image from p of the source.

    Args:
        fused: (B, 1, H, W), integer grey levels from 0 to 255.
        source: like fused, or with more leading dimensions: (..., B, 1, H, W).

    Returns:
        (..., B) in bits, over the levels that both images have.
    """
    p, q = histogram(source), histogram(fused)
    common = (p > 0) & (q > 0)
    return torch.where(common, p * (p / q).log2(), 0).sum(-1)


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
    latex=r"\sum_{l\,:\,p_X(l)\,p_F(l)>0}p_X(l)\log_2\frac{p_X(l)}{p_F(l)}",
)
