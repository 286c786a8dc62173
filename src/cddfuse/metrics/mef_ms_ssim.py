"""Multi-exposure fusion MS-SSIM (MEF-MS-SSIM), on three scales.

Range: [0, 1]. Higher is better.
Source: Ma, Zeng and Wang, "Perceptual quality assessment for multi-exposure image fusion", 2015.
Tables made with Linfeng Tang's MATLAB scripts call it MS-SSIM.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from cddfuse.metrics.ms_ssim import MS_SSIM
from cddfuse.metrics.sliding import bands, blur, gaussian

_WEIGHTS = (0.0448, 0.2856, 0.3001)
_SIZE = 11
_C = (0.03 * 255) ** 2
_TINY = torch.finfo(torch.float64).eps


def multi_exposure_similarity(fused: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Similarity to the desired patches: the highest contrast c and the mean structure s.

    Args:
        fused: (B, 1, H, W), grey levels, at least 44 x 44.
        first: like fused.
        second: like fused.

    Returns:
        (B,). A scale of negative mean similarity counts as 0.
    """
    planes = torch.stack([fused, first, second]).squeeze(2).double()
    value = planes.new_ones(())
    for weight in _WEIGHTS:
        value = value * _mean_similarity(planes).clamp(min=0) ** (weight / sum(_WEIGHTS))
        odd = [side % 2 for side in planes.shape[-2:]]
        planes = F.pad(planes, (0, odd[1], 0, odd[0]), mode="replicate")
        planes = F.avg_pool2d(planes, 2)
    return value


def _mean_similarity(planes: Tensor) -> Tensor:
    total = planes.new_zeros(())
    for band in bands(planes, _SIZE):
        total = total + _similarity(*band).sum((-2, -1))
    return total / ((planes.shape[-2] - _SIZE + 1) * (planes.shape[-1] - _SIZE + 1))


def _similarity(image: Tensor, first: Tensor, second: Tensor) -> Tensor:
    pixels = _SIZE**2
    flat, bell = [1 / _SIZE] * _SIZE, gaussian(_SIZE, 1.5)

    def covariance(a: Tensor, b: Tensor, window: list[float]) -> Tensor:
        return blur(a * b, window) - blur(a, window) * blur(b, window)

    square_1, square_2 = (pixels * covariance(s, s, flat).clamp(min=0) for s in (first, second))
    product = pixels * covariance(first, second, flat)
    c_1, c_2 = square_1.sqrt(), square_2.sqrt()  # contrasts
    c_sum = (square_1 + square_2 + 2 * product).clamp(min=0).sqrt()
    r = (c_sum + _TINY) / (c_1 + c_2 + _TINY)  # consistency of structures
    p = (torch.pi / 2 * r.clamp(max=1 - _TINY)).tan().clamp(max=10)
    c_1, c_2 = c_1 + 0.001, c_2 + 0.001
    w_1, w_2 = ((c / _SIZE) ** p + _TINY for c in (c_1, c_2))
    share = w_1 / (w_1 + w_2)
    # The desired patch is a * first + b * second, scaled to the higher contrast.
    a, b = share / c_1, (1 - share) / c_2
    norm = (a * a * square_1 + 2 * a * b * product + b * b * square_2).clamp(min=0).sqrt()
    scale = torch.where(norm > 0, torch.maximum(c_1, c_2) / norm, 1)
    a, b = a * scale, b * scale
    sigma_desired = (
        a * a * covariance(first, first, bell)
        + 2 * a * b * covariance(first, second, bell)
        + b * b * covariance(second, second, bell)
    )
    sigma_xy = a * covariance(first, image, bell) + b * covariance(second, image, bell)
    return (2 * sigma_xy + _C) / (sigma_desired + covariance(image, image, bell) + _C)


MEF_MS_SSIM = replace(
    MS_SSIM,
    formula=multi_exposure_similarity,
    over="both",
    combine=None,
    range=(0, 1),
    smallest=44,
    source="Ma, Zeng and Wang, IEEE Trans. Image Process. 24, 3345 (2015)",
    note="A different metric under this name: MEF-MS-SSIM for multi-exposure fusion.",
    latex=r"\prod_{k=1}^{3}\left(\frac{1}{N_k}\sum_{w}\frac{2\sigma_{\hat X F}+C}{\sigma_{\hat X}^2"
    r"+\sigma_F^2+C}\right)^{\beta_k}",
)
