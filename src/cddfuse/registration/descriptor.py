"""MIND: a description of each pixel that two modalities share, however they render brightness.

The modality independent neighbourhood descriptor of Heinrich et al., "MIND: Modality independent
neighbourhood descriptor for multi-modal deformable registration", Medical Image Analysis 2012: how
much the surroundings of a pixel resemble those of its neighbours. Here with 8 neighbours at a
distance of 2 pixels, of zero mean over them and nearly of length 1.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from cddfuse.filters import gaussian_window

_NEIGHBOURS = ((0, 2), (0, -2), (2, 0), (-2, 0), (2, 2), (-2, -2), (-2, 2), (2, -2))
_REACH = 2
_NOISE = 0.7  # standard deviation of the Gaussian that removes noise of pixels
_VARIANCES = 1e-3, 1e3  # bounds of the local variance, in means over the image
_FLAT = 0.05  # added to the squared length, so that flat regions stay short


def mind(image: Tensor, sigma: float = 1.2) -> Tensor:
    """The descriptor (B, 8, H, W) of grey images (B, 1, H, W); 0 where an image is flat.

    Args:
        image: values of any range; the descriptor does not change with brightness and contrast.
        sigma: standard deviation of the window that surroundings are compared in, in pixels.
    """
    height, width = image.shape[-2:]
    padded = F.pad(_blurred(image, _NOISE), (_REACH,) * 4, mode="replicate")

    def moved(down: int, right: int) -> Tensor:
        top, left = _REACH + down, _REACH + right
        return padded[..., top : top + height, left : left + width]

    distances = torch.cat([(moved(0, 0) - moved(*by)) ** 2 for by in _NEIGHBOURS], 1)
    distances = _blurred(distances, sigma)
    variance = distances.mean(1, keepdim=True)
    mean = variance.mean((-2, -1), keepdim=True)
    variance = variance.clamp(_VARIANCES[0] * mean, _VARIANCES[1] * mean)
    alike = (-distances / variance.clamp(min=torch.finfo(image.dtype).tiny)).exp()
    alike = alike - alike.mean(1, keepdim=True)
    return alike * alike.square().sum(1, keepdim=True).add(_FLAT).rsqrt()


def correlation(one: Tensor, other: Tensor, mask: Tensor) -> Tensor:
    """Correlation (B,) of descriptors (B, 8, H, W) over the pixels of a mask (B, 1, H, W)."""
    mask = mask.to(one)
    count = mask.sum((-2, -1), keepdim=True).clamp(min=1)
    a, b = ((x - (x * mask).sum((-2, -1), keepdim=True) / count) * mask for x in (one, other))
    product, *squares = ((x * y).sum((1, 2, 3)) for x, y in ((a, b), (a, a), (b, b)))
    return product / (squares[0] * squares[1]).sqrt().clamp(min=1e-9)


def _blurred(image: Tensor, sigma: float) -> Tensor:
    """Each channel under a Gaussian, borders replicated.

    As sums of shifted images: convolutions of single channels take 30 times as long.
    """
    radius = math.ceil(3 * sigma)
    window = gaussian_window(2 * radius + 1, sigma).tolist()
    height, width = image.shape[-2:]
    padded = F.pad(image, (radius,) * 4, mode="replicate")
    across = padded[..., :width] * window[0]
    for place, weight in enumerate(window[1:], 1):
        across.add_(padded[..., place : place + width], alpha=weight)
    down = across[..., :height, :] * window[0]
    for place, weight in enumerate(window[1:], 1):
        down.add_(across[..., place : place + height, :], alpha=weight)
    return down
