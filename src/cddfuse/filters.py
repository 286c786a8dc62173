"""Fixed windows and gradients that losses and models share."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

_SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))


def gaussian_window(size: int, sigma: float) -> Tensor:
    """One axis of a Gaussian window, (size,), float64, summing to 1."""
    x = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    window = (-(x**2) / (2 * sigma**2)).exp()
    return window / window.sum()


def sobel(image: Tensor, border: Literal["zero", "replicate"]) -> Tensor:
    """Horizontal and vertical Sobel responses of (B, 1, H, W), un-normalised: (B, 2, H, W).

    On a step of height 1 the response is 4.
    """
    kernel = torch.tensor(_SOBEL, dtype=image.dtype, device=image.device)
    kernel = torch.stack([kernel, kernel.T])[:, None]
    mode = {"zero": "constant", "replicate": "replicate"}[border]
    return F.conv2d(F.pad(image, (1, 1, 1, 1), mode=mode), kernel)
