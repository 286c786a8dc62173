"""Visual information fidelity for fusion (VIFF), each window with the source of smaller gain.

Range: [0, about 1], above 1 where contrast is enhanced. Higher is better. What published tables
call VIFF is often VIF.
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

_P = (1, 0, 0.15, 1)  # weights of the scales
_SIGMA_N_SQ = 0.005 * 255**2  # variance of the visual noise
_TINY = 1e-7


def fused_information(fused: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Weighted mean over scales of FVID / FVIND, information with and without distortion.

    Args:
        fused: (B, 1, H, W), grey levels, at least 41 x 41.
        first: like fused. Counts where the gains of both are equal, such as 0.
        second: like fused.

    Returns:
        (B,). 1 where both sources are constant.
    """
    value = fused.new_zeros((), dtype=torch.float64)
    images = (image[None] for image in (fused, first, second))
    for weight, (scaled, _, window) in zip(_P, scales(*images), strict=True):
        if weight:
            fvid, fvind = torch.stack(parallel_map(partial(_sums, window=window), scaled)).sum(0)
            value = value + weight / sum(_P) * fvid / fvind
    return value


def _sums(planes: Tensor, window: list[float]) -> Tensor:
    """FVID and FVIND of the windows of a band: (2, B)."""
    g, snr, sigma_c_sq = information(planes, window, _SIGMA_N_SQ)
    g = g * sigma_c_sq.sign()  # the gain of a constant window is 0 but for rounding
    both = torch.stack([snr, sigma_c_sq / _SIGMA_N_SQ])
    chosen = torch.where(g[0] <= g[1], both[:, 0], both[:, 1])
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
    note="As in its paper; in published tables, the name VIFF often stands for VIF.",
    latex=r"\sum_{k=1}^{4}p_k\,\frac{\sum_{w}\log_{10}\left(1+\frac{g^2\sigma_X^2}{\sigma_v^2"
    r"+\sigma_n^2}\right)}{\sum_{w}\log_{10}\left(1+\frac{\sigma_X^2}{\sigma_n^2}"
    r"\right)},\quad X=\mathrm{argmin}_{A,B}\,g",
)
