"""Normalised mutual information (NMI, Q_MI): mutual information as a share of what there is.

Range: [0, 1] per source, summed over both. Higher is better. NaN where both images are flat.
Source: Hossny, Nahavandi and Creighton, "Comments on 'Information measure for performance of image
fusion'", 2008.
"""

from torch import Tensor

from cddfuse.metrics.base import Metric
from cddfuse.metrics.histograms import joint_histogram, nats


def normalised_mutual_information(x: Tensor, y: Tensor) -> Tensor:
    """Mutual information over the mean of both entropies, whatever the logarithm.

    Args:
        x: (B, 1, H, W), whole grey levels from 0 to 255.
        y: like x, or with more dimensions in front: (..., B, 1, H, W). The measure is symmetric.

    Returns:
        (..., B).
    """
    joint = joint_histogram(x, y)
    entropies = nats(joint.sum(-1)) + nats(joint.sum(-2))
    return 2 * (entropies - nats(joint.flatten(-2))).clamp(min=0) / entropies


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
