"""Normalised mutual information (NMI, Q_MI) of the fused image and each source.

Range: [0, 1] per source, summed over both. Higher is better. NaN where both images are constant.
Source: Hossny, Nahavandi and Creighton, "Comments on 'Information measure for performance of image
fusion'", 2008.
"""

from dataclasses import replace

import torch
from torch import Tensor

from cddfuse.metrics.base import Metric
from cddfuse.metrics.histograms import histogram, nats, pair_entropies


def normalised_mutual_information(x: Tensor, y: Tensor) -> Tensor:
    """2 I(X; Y) / (H(X) + H(Y)). Symmetric."""
    entropies, information = pair_entropies(x, y)
    return 2 * information / entropies


def _over_the_sources(fused: Tensor, first: Tensor, second: Tensor) -> Tensor:
    sources = torch.stack([first, second])
    entropies = nats(histogram(sources)).sum(0)
    return 2 * pair_entropies(fused, sources)[1].sum(0) / entropies


NMI = Metric(
    "NMI",
    "Normalised mutual information",
    normalised_mutual_information,
    over="each",
    combine="sum",
    unit="",
    range=(0, 2),
    better="higher",
    source="Hossny, Nahavandi and Creighton, Electron. Lett. 44, 1066 (2008)",
    latex=r"\frac{2\,I(F;X)}{H(F)+H(X)}",
)

NMI_OF_SOURCES = replace(
    NMI,
    formula=_over_the_sources,
    over="both",
    combine=None,
    range=(0, 2),
    note="2 (I(F; A) + I(F; B)) / (H(A) + H(B)), without the entropy of the fused image.",
    latex=r"\frac{2\left(I(F;A)+I(F;B)\right)}{H(A)+H(B)}",
)
