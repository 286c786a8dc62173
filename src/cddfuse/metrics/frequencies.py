"""Filters that are defined by what they do to frequencies, as models of the eye are."""

import torch
from torch import Tensor


def radius(image: Tensor, scale: float) -> Tensor:
    """Distance from frequency 0 for `rfft2` of images (..., H, W): (H, W // 2 + 1).

    The highest frequency along a side counts as that side, in pixels, times `scale`.
    """
    height, width = image.shape[-2:]
    down = torch.fft.fftfreq(height, dtype=torch.float64, device=image.device) * height
    across = torch.fft.rfftfreq(width, dtype=torch.float64, device=image.device) * width
    return 2 * scale * torch.hypot(down[:, None], across)


def filtered(image: Tensor, response: Tensor) -> Tensor:
    """Images (..., H, W) with their frequencies multiplied by `response`."""
    size = image.shape[-2:]
    return torch.fft.irfft2(torch.fft.rfft2(image) * response, s=size)
