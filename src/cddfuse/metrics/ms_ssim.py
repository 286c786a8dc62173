"""Multi-scale structural similarity (MS-SSIM), on five scales.

Range: [0, 1] per source. Higher is better.
Source: Wang, Simoncelli and Bovik, "Multi-scale structural similarity for image quality
assessment", 2003.
"""

from dataclasses import replace
from functools import partial

import torch.nn.functional as F
from torch import Tensor

from cddfuse.metrics.base import Metric
from cddfuse.metrics.ssim import luminance_and_structure

_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def multi_scale_similarity(x: Tensor, y: Tensor, *, white: float = 255) -> Tensor:
    """MS-SSIM of grey levels. A scale of negative mean structure counts as 0.

    Args:
        x: (B, 1, H, W), at least 161 x 161.
        y: like x, or with more leading dimensions: (..., B, 1, H, W).
        white: L, the dynamic range for which C1 and C2 are computed.

    Returns:
        (..., B).
    """
    value = x.new_ones(())
    for weight in _WEIGHTS[:-1]:
        _, structure = luminance_and_structure(x, y, white)
        value = value * structure.clamp(min=0) ** weight
        x, y = _halved(x), _halved(y)
    ssim, _ = luminance_and_structure(x, y, white)
    return value * ssim.clamp(min=0) ** _WEIGHTS[-1]


def _halved(image: Tensor) -> Tensor:
    odd = [side % 2 for side in image.shape[-2:]]
    flat = F.avg_pool2d(image.flatten(0, -4).double(), 2, padding=odd)
    return flat.unflatten(0, image.shape[:-3])


MS_SSIM = Metric(
    "MS-SSIM",
    "Multi-scale structural similarity",
    multi_scale_similarity,
    over="each",
    combine="sum",
    unit="",
    range=(0, 2),
    better="higher",
    smallest=161,
    source="Wang, Simoncelli and Bovik, Asilomar Conf. Signals Syst. Comput., 1398 (2003)",
    note="The sum over both sources.",
    latex=r"\mathrm{SSIM}_5(F,X)^{\beta_5}\prod_{k=1}^{4}\left(\frac{1}{N_k}\sum_{w}\frac{2\sigma_"
    r"{FX}+C_2}{\sigma_F^2+\sigma_X^2+C_2}\right)^{\beta_k}",
)

MS_SSIM_MEAN = replace(MS_SSIM, combine="mean", range=(0, 1), note="The mean over both sources.")

MS_SSIM_OF_1 = replace(
    MS_SSIM,
    formula=partial(multi_scale_similarity, white=1),
    note="The sum over both sources, with L = 1 although levels go to 255.",
)
