"""Filters in the frequency domain, such as contrast sensitivity functions."""

import torch
from torch import Tensor


def radius(image: Tensor, scale: float) -> Tensor:
    """Radial frequency of the coefficients of `rfft2` of images (..., H, W): (H, W // 2 + 1).

    Along each side, the Nyquist frequency is the length of the side in pixels times `scale`.
    """
    height, width = image.shape[-2:]
    down = torch.fft.fftfreq(height, dtype=torch.float64, device=image.device) * height
    across = torch.fft.rfftfreq(width, dtype=torch.float64, device=image.device) * width
    return 2 * scale * torch.hypot(down[:, None], across)


def filtered(image: Tensor, response: Tensor) -> Tensor:
    """Filter images (..., H, W) by the frequency response `response`."""
    size = image.shape[-2:]
    return torch.fft.irfft2(torch.fft.rfft2(image) * response, s=size)
