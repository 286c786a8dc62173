"""Entropy (EN) of the grey levels of the fused image.

Unit: bits. Range: [0, 8]. Higher is better, though noise raises it too.
Source: Shannon 1948; for fusion Roberts, van Aardt and Ahmed, "Assessment of image fusion
procedures using entropy, image quality, and multispectral classification", 2008.
"""

import math
from dataclasses import replace

from torch import Tensor

from cddfuse.metrics.base import Metric
from cddfuse.metrics.histograms import histogram, nats


def entropy(image: Tensor) -> Tensor:
    """Entropy of integer grey levels 0 to 255 of images (..., B, 1, H, W): (..., B), in bits."""
    return nats(histogram(image)) / math.log(2)


def _offset(image: Tensor) -> Tensor:
    p = histogram(image)
    return -(p * (p + 1e-7).log2()).sum(-1)


EN = Metric(
    "EN",
    "Entropy",
    entropy,
    over="fused",
    combine=None,
    unit="bits",
    range=(0, 8),
    better="higher",
    source="Roberts, van Aardt and Ahmed, J. Appl. Remote Sens. 2, 023522 (2008)",
    latex=r"-\sum_{l=0}^{255}p_F(l)\log_2 p_F(l)",
)

EN_OFFSET = replace(
    EN,
    formula=_offset,
    range=(-1e-6, 8),
    note="1e-7 is added inside the logarithm: 5e-6 lower.",
    latex=r"-\sum_{l=0}^{255}p_F(l)\log_2\left(p_F(l)+10^{-7}\right)",
)
