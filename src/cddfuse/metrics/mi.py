"""Mutual information (MI) of the fused image and each source.

Unit: nats. Range: [0, 8 ln 2] per source, summed over both. Higher is better.
Source: Qu, Zhang and Yan, "Information measure for performance of image fusion", 2002.
"""

import math
from dataclasses import replace

from torch import Tensor

from cddfuse.metrics.base import Metric
from cddfuse.metrics.gradients import stretched
from cddfuse.metrics.histograms import histogram, joint_histogram, nats, pair_entropies


def mutual_information(x: Tensor, y: Tensor) -> Tensor:
    """I(X; Y) in nats, see `pair_entropies`. Symmetric."""
    return pair_entropies(x, y)[1]


def _bits(x: Tensor, y: Tensor) -> Tensor:
    return mutual_information(x, y) / math.log(2)


def _of_stretched(x: Tensor, y: Tensor) -> Tensor:
    return mutual_information(stretched(x).nan_to_num(0), stretched(y).nan_to_num(0))


def _saturated(x: Tensor, y: Tensor) -> Tensor:
    # Levels are counted from 1 in uint8, where 255 stays 255, but only in the joint histogram.
    joint = joint_histogram(x.clamp(max=254), y.clamp(max=254))
    single = nats(histogram(x)) + nats(histogram(y))
    return (single - nats(joint.flatten(-2))) / math.log(2)


MI = Metric(
    "MI",
    "Mutual information",
    mutual_information,
    over="each",
    combine="sum",
    unit="nats",
    range=(0, 11.0904),
    better="higher",
    source="Qu, Zhang and Yan, Electron. Lett. 38, 313 (2002)",
    note="In nats; other toolboxes give bits, 1.4427 times as much.",
    latex=r"\sum_{l,m}p_{FX}(l,m)\ln\frac{p_{FX}(l,m)}{p_F(l)\,p_X(m)}",
)

MI_BITS = replace(
    MI,
    formula=_bits,
    unit="bits",
    range=(0, 16),
    note="In bits.",
    latex=r"\sum_{l,m}p_{FX}(l,m)\log_2\frac{p_{FX}(l,m)}{p_F(l)\,p_X(m)}",
)

MI_STRETCHED = replace(
    MI, formula=_of_stretched, note="In nats, each image is stretched to 0 to 255 first."
)

MI_SATURATED = replace(
    MI_BITS,
    formula=_saturated,
    range=(0, 18),
    note="In bits; levels 254 and 255 share a bin in the joint histogram only.",
)
