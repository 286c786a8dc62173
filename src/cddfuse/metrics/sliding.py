"""Filters by sliding windows, and the bands of rows in which images are processed.

The intermediate results of a band stay in the cache, which makes it several times faster than the
whole image and bounds memory.
"""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

_PIXELS = 40_000
MOST_ROWS = 64


def bands(image: Tensor, window: int, frame: int = 0) -> Iterator[Tensor]:
    """Cut images (..., H, W) into overlapping bands of rows, each window being in exactly one.

    Bands start at even rows, so that windows at a stride of 2 are the same in a band and in the
    image, and have at most `MOST_ROWS` rows of windows. The image is padded by `frame` zeros first.
    """
    height = image.shape[-2] + 2 * frame
    rows = height - window + 1
    step = min(max(8, _PIXELS // image.shape[-1]), MOST_ROWS) // 2 * 2
    for start in range(0, rows, step):
        stop = min(start + step, rows) + window - 1
        band = image[..., max(start - frame, 0) : max(stop - frame, 0), :]
        if frame:
            above, below = max(frame - start, 0), max(stop - height + frame, 0)
            band = pad(band, (frame, frame, above, below))
        yield band


def suits_opencv(image: Tensor) -> bool:
    """Whether OpenCV, which is faster than torch but has no gradients, can filter an image."""
    known = image.dtype in (torch.float32, torch.float64)
    return image.is_cpu and known and not image.requires_grad


def blur(image: Tensor, weights: Sequence[float], step: int = 1) -> Tensor:
    """Separable filter without padding: (..., H, W) to sums at a stride of `step`."""
    if suits_opencv(image):
        return _blur_without_gradient(image, weights, step)
    return _blur(image, weights, step)


def _blur_without_gradient(image: Tensor, weights: Sequence[float], step: int) -> Tensor:
    """By OpenCV, which filters each row in both directions while it is in the cache."""
    planes = image.flatten(0, -3) if image.ndim > 2 else image[None]
    sums, window = torch.empty_like(planes), np.array(weights)
    for plane, place in zip(planes.numpy(), sums.numpy(), strict=True):
        # Windows start at their pixel; those that reach beyond the image are cut off below.
        cv2.sepFilter2D(plane, -1, window, window, place, (0, 0), 0, cv2.BORDER_CONSTANT)
    height, width = (side - len(weights) + 1 for side in image.shape[-2:])
    sums = sums[:, :height:step, :width:step]
    if step > 1:
        sums = sums.contiguous()  # frees the rest
    return sums.unflatten(0, image.shape[:-2] or (1,))


def _blur(image: Tensor, weights: Sequence[float], step: int) -> Tensor:
    """By a matrix product over columns and shifted slices over rows, faster than conv2d."""
    rows, columns = image.shape[-2:]
    image = _banded(tuple(weights), rows, step, image.dtype, image.device) @ image
    span = (columns - len(weights)) // step * step + 1
    total = image.narrow(-1, 0, span)[..., ::step] * weights[0]
    for start, weight in enumerate(weights[1:], start=1):
        total.add_(image.narrow(-1, start, span)[..., ::step], alpha=weight)
    return total


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # cached for later calls, which may need gradients
def _banded(
    weights: tuple[float, ...], columns: int, step: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """A band matrix with the weights in each row, shifted by `step` from row to row."""
    rows = (columns - len(weights)) // step + 1
    matrix = torch.zeros(rows, columns, dtype=dtype)
    diagonals = matrix.as_strided((rows, len(weights)), (columns + step, 1))
    diagonals.copy_(torch.tensor(weights, dtype=dtype).expand_as(diagonals))
    return matrix.to(device)


def box7(image: Tensor) -> Tensor:
    """Sums over 7 x 7 windows, exact for integer levels, from sums over 1 + 2 + 4 pixels."""
    for dim in (-2, -1):
        size = image.shape[dim] - 6
        two = image.narrow(dim, 0, size + 5) + image.narrow(dim, 1, size + 5)
        four = two.narrow(dim, 0, size) + two.narrow(dim, 2, size)
        image = four.add_(two.narrow(dim, 4, size)).add_(image.narrow(dim, 6, size))
    return image


def gaussian(size: int, sigma: float) -> list[float]:
    """A normalised Gaussian window of `size` weights."""
    bell = [math.exp(-(((i - (size - 1) / 2) / sigma) ** 2) / 2) for i in range(size)]
    return [weight / sum(bell) for weight in bell]
