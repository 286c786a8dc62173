"""Visual information fidelity for fusion (VIFF): of each window, what is left of the better source.

Range: [0, about 1], above 1 where contrast is raised. Higher is better. What the published tables
call VIFF is the other measure, VIF.
Source: Han, Cai, Cao and Xu, "A new image fusion performance metric based on visual information
fidelity", 2013.
"""

import math
from functools import partial

import torch
from torch import Tensor

from cddfuse.metrics.base import Metric
from cddfuse.metrics.vif import information, scales
from cddfuse.threads import parallel_map

_WEIGHTS = (1, 0, 0.15, 1)  # of the scales
_NOISE = 0.005 * 255**2  # variance of what the eye itself adds
_TINY = 1e-7


def fused_information(fused: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Share of the information that is left, in each window of the source that gains less.

    Args:
        fused: (B, 1, H, W), grey levels, at least 41 x 41.
        first: like fused. Counts where both gain the same, as windows unlike both do (by nothing).
        second: like fused.

    Returns:
        (B,). 1 where both sources are flat.
    """
    value = fused.new_zeros((), dtype=torch.float64)
    images = (image[None] for image in (fused, first, second))
    for weight, (scaled, _, window) in zip(_WEIGHTS, scales(*images), strict=True):
        if weight:
            seen, shown = torch.stack(parallel_map(partial(_sums, window=window), scaled)).sum(0)
            value = value + weight / sum(_WEIGHTS) * seen / shown
    return value


def _sums(planes: Tensor, window: list[float]) -> Tensor:
    """Information that is left, and that there is, in the windows of a band: (2, B)."""
    gain, left, shown = information(planes, window, _NOISE)
    gain = gain * shown.sign()  # a flat window gains nothing; what gain it has is rounding
    less = gain[0] <= gain[1]
    both = torch.stack([left, shown / _NOISE])
    chosen = torch.where(less, both[:, 0], both[:, 1])
    return (chosen.log1p() / math.log(10) + _TINY).sum((-2, -1))


VIFF = Metric(
    "VIFF",
    "Visual information fidelity for fusion",
    fused_information,
    over="both",
    combine=None,
    unit="",
    range=(0, math.inf),
    better="higher",
    smallest=41,
    source="Han, Cai, Cao and Xu, Inf. Fusion 14, 127 (2013)",
    note="Han's own; published tables mean VIF when they say VIFF.",
)
