"""Normalised mutual information (NMI, Q_MI): mutual information as a share of what there is.

Range: [0, 1] per source, summed over both. Higher is better. NaN where both images are flat.
Source: Hossny, Nahavandi and Creighton, "Comments on 'Information measure for performance of image
fusion'", 2008.
"""

from dataclasses import replace

import torch
from torch import Tensor

from cddfuse.metrics.base import Metric
from cddfuse.metrics.histograms import histogram, nats, pair_entropies


def normalised_mutual_information(x: Tensor, y: Tensor) -> Tensor:
    """Shared information over the mean of both `pair_entropies`, in any logarithm. Symmetric."""
    entropies, shared = pair_entropies(x, y)
    return 2 * shared / entropies


def _over_the_sources(fused: Tensor, first: Tensor, second: Tensor) -> Tensor:
    sources = torch.stack([first, second])
    of_sources = nats(histogram(sources)).sum(0)
    return 2 * pair_entropies(fused, sources)[1].sum(0) / of_sources


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
)

NMI_OF_SOURCES = replace(
    NMI,
    formula=_over_the_sources,
    over="both",
    combine=None,
    range=(0, 2),
    note="Both informations over the entropies of the sources, that of the fused image left out.",
)
