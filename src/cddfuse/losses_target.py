"""Losses that keep targets: what is hot in one source must stand out of the fused image as well.

Both are saliency-weighted losses, of the kind of STDFusionNet (Ma et al. 2021) and TarDAL (Liu et
al. 2022), but the weights come from the source itself, not from labelled masks. Images
(B, 1, H, W) in [0, 1]; every term is a scalar.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from cddfuse.filters import full, gaussian_window, unmixed

SCALES = (8.0, 24.0, 72.0)
"""Standard deviations, in pixels, of the surroundings that targets are compared with."""

_FAINT, _CLEAR = (
    0.06,
    0.12,
)  # contrasts from which a pixel counts, and how much later it counts fully
_PROMINENT, _WITHIN = 0.10, 0.15  # the same of the other source
_TOLERANCE = 0.03


def target_contrast(
    fused: Tensor,
    first: Tensor,
    second: Tensor,
    target_gain: float = 1.0,
    target_source: Literal["first", "second"] = "second",
    target_prominence: float = 0.0,
    scales: tuple[float, ...] = SCALES,
) -> Tensor:
    """What the fused image lacks of the contrast of targets: 0 if nothing, 1 if they are gone.

    A target is what is brighter than its surroundings in `target_source`, and bright among the
    pixels of that image: above the mean by `target_prominence` standard deviations, and fully from
    one more on. Its contrast with the surroundings is asked for at several scales, times
    `target_gain`, as networks fall short of what they are asked for. How it comes about is left
    open: where the other source is as bright as the target, by surroundings that are darker.

    Shortfalls are relative to the contrast asked for; the mean of a shortfall and its square
    counts, so that what is lost weighs more than what is a little weak. Pixels share the weight of
    what lies within a scale, so that small targets count too; less of it is for those where the
    other source stands out as well, where both are likely to show one thing.
    """
    target, other = (first, second) if target_source == "first" else (second, first)
    target, other, fused = full(target), full(other), full(fused)
    images = torch.cat([fused, target, other])
    mean = target.mean((2, 3), keepdim=True)
    spread = target.std((2, 3), keepdim=True).clamp_min(1e-3)
    hot = ((target - mean) / spread - target_prominence).clamp(0, 1)
    terms = []
    for scale in scales:
        contrast, wanted, rival = _contrast(images, scale).chunk(3)
        weight = hot * ((wanted - _FAINT) / _CLEAR).clamp(0, 1)
        weight = weight * (1 - ((rival - _PROMINENT) / _WITHIN).clamp(0, 1) / 2)
        weight = weight / (blurred(weight, scale) + 0.03)
        short = F.relu(target_gain * wanted - contrast) / wanted.clamp_min(_FAINT)
        short = short * (1 + short) / 2
        terms.append((weight * short).sum() / (weight.sum() + 1e-3 * weight.numel()))
    return torch.stack(terms).mean()


def overshoot(fused: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """How far the fused image is brighter or darker than both sources, beyond a small tolerance."""
    above = F.relu(fused - torch.maximum(first, second) - _TOLERANCE)
    below = F.relu(torch.minimum(first, second) - _TOLERANCE - fused)
    return (above + below).mean()


def _contrast(image: Tensor, scale: float) -> Tensor:
    """How far each pixel, a little smoothed, is above its surroundings."""
    return blurred(image, max(1.0, scale / 10)) - blurred(image, scale)


def blurred(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur, a mean over the part of the window that lies inside the image.

    A wide one is computed at reduced resolution, which costs little and changes next to nothing.
    """
    reduction = max(1, int(sigma / 3))
    height, width = image.shape[-2:]
    # Blocks that the border cuts off count by the pixels they have, which the mask says.
    rest = (0, -width % reduction, 0, -height % reduction)
    images = torch.cat([image, torch.ones_like(image[:1])])
    reduced = F.avg_pool2d(F.pad(images, rest), reduction) if reduction > 1 else images
    sigma = sigma / reduction
    reach = min(round(3 * sigma), max(reduced.shape[-2:]) - 1)
    line = gaussian_window(2 * reach + 1, sigma).to(reduced)
    with unmixed(reduced):
        reduced = F.conv2d(reduced, line.view(1, 1, -1, 1), padding=(reach, 0))
        reduced = F.conv2d(reduced, line.view(1, 1, 1, -1), padding=(0, reach))
    reduced = reduced[:-1] / reduced[-1:]
    if reduction == 1:
        return reduced
    size = (reduced.shape[-2] * reduction, reduced.shape[-1] * reduction)
    grown = F.interpolate(reduced, size=size, mode="bilinear", align_corners=False)
    return grown[..., :height, :width]
