"""Fixed windows and gradients that losses and models share, in the precision they need."""

from contextlib import AbstractContextManager, nullcontext
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


def full(x: Tensor) -> Tensor:
    """In single precision at least: sums, images and unbounded values of mixed-precision runs."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def unmixed(x: Tensor) -> AbstractContextManager[None]:
    """A context without autocast: operations keep the precision of their operands.

    For differences of large numbers, such as variances, and for images, whose grey levels are finer
    than bf16 can tell apart.
    """
    kind = x.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()  # graphs for export cannot hold autocast


def convolve(image: Tensor, kernel: Tensor, padding: int = 0) -> Tensor:
    """`conv2d` in single precision at least; the kernel takes the image's device and type."""
    image = full(image)
    kernel = kernel.to(image)
    batch, channels = image.shape[:2]
    with unmixed(image):
        if channels > 1 or image.device.type != "cpu":
            return F.conv2d(image, kernel, padding=padding)
        # One group for each image: to the bit the same, its gradient in a fiftieth of the time.
        kernels = kernel.repeat(batch, 1, 1, 1)
        found = F.conv2d(image.transpose(0, 1), kernels, padding=padding, groups=batch)
        return found.unflatten(1, (batch, -1))[0]


def sobel(image: Tensor, border: Literal["zero", "replicate"]) -> Tensor:
    """Horizontal and vertical Sobel responses of (B, 1, H, W), un-normalised: (B, 2, H, W).

    On a step of height 1 the response is 4.
    """
    kernel = torch.tensor(_SOBEL, dtype=image.dtype, device=image.device)
    kernel = torch.stack([kernel, kernel.T])[:, None]
    mode = {"zero": "constant", "replicate": "replicate"}[border]
    return convolve(F.pad(image, (1, 1, 1, 1), mode=mode), kernel)
