"""Sobel gradients, padding, and the stretch that some toolboxes start with."""

from typing import Literal

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor

from cddfuse.metrics.sliding import suits_opencv


def sobel(image: Tensor) -> tuple[Tensor, Tensor]:
    """Vertical (downward) and horizontal (leftward) gradients, without the factor 1/8.

    (..., H, W) to (..., H - 2, W - 2).
    """
    if suits_opencv(image):
        return _sobel_without_gradient(image)
    smooth = (image[..., :-2] + image[..., 2:]).add_(image[..., 1:-1], alpha=2)
    down = smooth[..., 2:, :] - smooth[..., :-2, :]
    step = image[..., :-2] - image[..., 2:]
    left = (step[..., :-2, :] + step[..., 2:, :]).add_(step[..., 1:-1, :], alpha=2)
    return down, left


def _sobel_without_gradient(image: Tensor) -> tuple[Tensor, Tensor]:
    """By OpenCV, row by row, which stays in the cache."""
    planes = image.flatten(0, -3) if image.ndim > 2 else image[None]
    down, left = torch.empty_like(planes), torch.empty_like(planes)
    for plane, *places in zip(planes.numpy(), down.numpy(), left.numpy(), strict=True):
        cv2.Sobel(plane, -1, 0, 1, places[0])
        cv2.Sobel(plane, -1, 1, 0, places[1], scale=-1)
    inside = (gradient[:, 1:-1, 1:-1] for gradient in (down, left))
    down, left = (gradient.unflatten(0, image.shape[:-2] or (1,)) for gradient in inside)
    return down, left


def framed(
    image: Tensor, width: int, border: Literal["constant", "reflect", "replicate"]
) -> Tensor:
    """Pad images (..., H, W) on all sides: with zeros, by reflection or by replication."""
    flat = image.reshape(-1, 1, *image.shape[-2:])
    flat = F.pad(flat, (width, width, width, width), mode=border)
    return flat.reshape(*image.shape[:-2], *flat.shape[-2:])


def stretched(image: Tensor) -> Tensor:
    """Stretch each image (..., B, 1, H, W) to integer levels 0 to 255, in float64.

    A black image stays black; any other constant one becomes NaN.
    """
    image = image.double()
    low, high = image.amin((-2, -1), keepdim=True), image.amax((-2, -1), keepdim=True)
    whole = ((image - low) / (high - low) * 255 + 0.5).floor()
    return torch.where(high == 0, image, whole)
