"""Multi-exposure similarity (MEF-MS-SSIM): windows have the best contrast and a joint shape.

Range: [0, 1]. Higher is better.
Source: Ma, Zeng and Wang, "Perceptual quality assessment for multi-exposure image fusion", 2015.
Tables made with the usual MATLAB scripts call it MS-SSIM.
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
    """Likeness of windows to one that has the greater contrast and the mixed shape of the sources.

    Args:
        fused: (B, 1, H, W), grey levels, at least 44 x 44.
        first: like fused.
        second: like fused.

    Returns:
        (B,). Scales that are unlike on the average count as 0.
    """
    planes = torch.stack([fused, first, second]).squeeze(2).double()
    value = planes.new_ones(())
    for weight in _WEIGHTS:
        value = value * _likeness(planes).clamp(min=0) ** (weight / sum(_WEIGHTS))
        odd = [side % 2 for side in planes.shape[-2:]]
        planes = F.pad(planes, (0, odd[1], 0, odd[0]), mode="replicate")
        planes = F.avg_pool2d(planes, 2)
    return value


def _likeness(planes: Tensor) -> Tensor:
    total = planes.new_zeros(())
    for band in bands(planes, _SIZE):
        total = total + _similarity(*band).sum((-2, -1))
    return total / ((planes.shape[-2] - _SIZE + 1) * (planes.shape[-1] - _SIZE + 1))


def _similarity(image: Tensor, first: Tensor, second: Tensor) -> Tensor:
    pixels = _SIZE**2
    flat, bell = [1 / _SIZE] * _SIZE, gaussian(_SIZE, 1.5)

    def covariance(a: Tensor, b: Tensor, window: list[float]) -> Tensor:
        return blur(a * b, window) - blur(a, window) * blur(b, window)

    power_1, power_2 = (pixels * covariance(s, s, flat).clamp(min=0) for s in (first, second))
    mixed = pixels * covariance(first, second, flat)
    length_1, length_2 = power_1.sqrt(), power_2.sqrt()
    together = (power_1 + power_2 + 2 * mixed).clamp(min=0).sqrt()
    consistency = (together + _TINY) / (length_1 + length_2 + _TINY)
    power = (torch.pi / 2 * consistency.clamp(max=1 - _TINY)).tan().clamp(max=10)
    length_1, length_2 = length_1 + 0.001, length_2 + 0.001
    weight_1, weight_2 = ((length / _SIZE) ** power + _TINY for length in (length_1, length_2))
    share = weight_1 / (weight_1 + weight_2)
    # The window to be like is the mixture a * first + b * second, brought to the greater length.
    a, b = share / length_1, (1 - share) / length_2
    mixture = (a * a * power_1 + 2 * a * b * mixed + b * b * power_2).clamp(min=0).sqrt()
    scale = torch.where(mixture > 0, torch.maximum(length_1, length_2) / mixture, 1)
    a, b = a * scale, b * scale
    wanted = (
        a * a * covariance(first, first, bell)
        + 2 * a * b * covariance(first, second, bell)
        + b * b * covariance(second, second, bell)
    )
    common = a * covariance(first, image, bell) + b * covariance(second, image, bell)
    return (2 * common + _C) / (wanted + covariance(image, image, bell) + _C)


MEF_MS_SSIM = replace(
    MS_SSIM,
    formula=multi_exposure_similarity,
    over="both",
    combine=None,
    range=(0, 1),
    smallest=44,
    source="Ma, Zeng and Wang, IEEE Trans. Image Process. 24, 3345 (2015)",
    note="Another measure by the same name: the one for multi-exposure fusion, on three scales.",
)
