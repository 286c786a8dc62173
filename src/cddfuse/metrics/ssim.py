"""Structural similarity (SSIM): local means, contrasts and shapes of fused image and source agree.

Range: [-1, 1] per source. Higher is better.
Source: Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error visibility to
structural similarity", 2004.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cddfuse.metrics.base import Metric
from cddfuse.metrics.gradients import framed
from cddfuse.metrics.sliding import bands, blur, box7, gaussian
from cddfuse.threads import parallel_map

_K1, _K2 = 0.01, 0.03
_BOX, _RADIUS = 7, 5


def structural_similarity(x: Tensor, y: Tensor, *, white: float = 255) -> Tensor:
    """SSIM as scikit-image has it: windows of 7 x 7 equal weights, variances of the sample.

    Args:
        x: (B, 1, H, W), grey levels, at least 7 x 7.
        y: like x, or with more dimensions in front: (..., B, 1, H, W).
        white: the range of grey levels that the two constants are made for.

    Returns:
        (..., B), the mean over all windows inside the image.
    """
    pairs = zip(bands(x, _BOX), bands(y, _BOX), strict=True)
    sums = parallel_map(partial(_box_similarity, white=white), pairs)
    return torch.stack(sums).sum(0) / ((x.shape[-2] - _BOX + 1) * (x.shape[-1] - _BOX + 1))


def _box_similarity(pair: tuple[Tensor, Tensor], white: float) -> Tensor:
    """Sum over the windows of a band."""
    x, y = pair
    pixels, samples = _BOX**2, _BOX**2 - 1
    means = (_K1 * white) ** 2 * pixels**2
    variances = (_K2 * white) ** 2 * pixels * samples
    # Sums instead of means: the window sums of whole grey levels are exact, in float32 too, and so
    # are the differences in float64, however small the constants are.
    sum_x, sum_y = box7(x).double(), box7(y).double()
    product = sum_x * sum_y
    squares = torch.addcmul(sum_x * sum_x, sum_y, sum_y)
    covariance = box7(x * y).double().mul_(pixels).sub_(product)
    energy = box7(torch.addcmul(x * x, y, y)).double().mul_(pixels).sub_(squares)
    like = product.mul(2).add_(means) * covariance.mul_(2).add_(variances)
    return (like / (squares.add_(means) * energy.add_(variances))).sum((-3, -2, -1))


def _of_whole_levels(x: Tensor, y: Tensor, *, white: float) -> Tensor:
    """`structural_similarity` in integers, which takes half the time."""
    if not x.is_cpu:
        return structural_similarity(x, y, white=white)
    pairs = zip(bands(x, _BOX), bands(y, _BOX), strict=True)
    sums = parallel_map(partial(_whole_box_similarity, white=white), pairs)
    return torch.stack(sums).sum(0) / ((x.shape[-2] - _BOX + 1) * (x.shape[-1] - _BOX + 1))


def _whole_box_similarity(pair: tuple[Tensor, Tensor], white: float) -> Tensor:
    """Sum over the windows of a band."""
    x, y = (band.numpy().astype(np.uint8) for band in pair)
    pixels, samples = _BOX**2, _BOX**2 - 1
    means = (_K1 * white) ** 2 * pixels**2
    variances = (_K2 * white) ** 2 * pixels * samples
    sum_x, sum_y = _sums(cv2.boxFilter, x), _sums(cv2.boxFilter, y)
    apart = np.maximum(x, y) - np.minimum(x, y)
    # All sums times `pixels`. Of a product they are what its binomial has beside the squares.
    energy = (_sums(cv2.sqrBoxFilter, x) + _sums(cv2.sqrBoxFilter, y)).mul_(pixels)
    covariance = energy.sub(_sums(cv2.sqrBoxFilter, apart), alpha=pixels)
    product = sum_x * sum_y
    covariance.sub_(product, alpha=2)
    squares = (sum_y * sum_y).add_(sum_x * sum_x)
    energy.sub_(squares)
    like = product.double().mul_(2).add_(means).mul_(covariance.double().add_(variances))
    unlike = squares.double().add_(means).mul_(energy.double().add_(variances))
    return like.div_(unlike).sum((-3, -2, -1))


def _sums(box: Callable[..., object], levels: NDArray[np.uint8]) -> Tensor:
    """Sums over 7 x 7 windows by a filter of OpenCV: (..., H, W) to (..., H - 6, W - 6), int32."""
    sums = np.empty(levels.shape, np.int32)
    planes = (image.reshape(-1, *image.shape[-2:]) for image in (levels, sums))
    for plane, place in zip(*planes, strict=True):
        # Starting at the pixel itself; where a window reaches beyond the image is cut off.
        box(plane, cv2.CV_32S, (_BOX, _BOX), place, (0, 0), False, cv2.BORDER_CONSTANT)
    return torch.from_numpy(sums)[..., : 1 - _BOX, : 1 - _BOX]


def gaussian_similarity(
    x: Tensor, y: Tensor, *, white: float = 255, border: Literal["none", "replicate"] = "none"
) -> Tensor:
    """SSIM as the paper has it: Gaussian windows of 11 x 11, variances of the population.

    Args:
        x: (B, 1, H, W), grey levels, at least 11 x 11 if there is no border.
        y: like x, or with more dimensions in front: (..., B, 1, H, W).
        white: the range of grey levels that the two constants are made for.
        border: windows inside the image only, or one for each pixel, the border being repeated.

    Returns:
        (..., B), the mean over all windows.
    """
    if border == "replicate":
        x, y = framed(x, _RADIUS, "replicate"), framed(y, _RADIUS, "replicate")
    return luminance_and_structure(x, y, white)[0]


def luminance_and_structure(x: Tensor, y: Tensor, white: float = 255) -> tuple[Tensor, Tensor]:
    """Means over the Gaussian windows of SSIM, and of SSIM without its term of local means."""
    size = 2 * _RADIUS + 1
    pairs = zip(bands(x.double(), size), bands(y.double(), size), strict=True)
    sums = torch.stack(parallel_map(partial(_gaussian_similarity, white=white), pairs)).sum(0)
    whole, structure = sums / ((x.shape[-2] - size + 1) * (x.shape[-1] - size + 1))
    return whole, structure


def _gaussian_similarity(pair: tuple[Tensor, Tensor], white: float) -> Tensor:
    """Both sums over the windows of a band: (2, ..., B)."""
    x, y = pair
    c1, c2 = (_K1 * white) ** 2, (_K2 * white) ** 2
    window = gaussian(2 * _RADIUS + 1, 1.5)
    mean_x, mean_y = blur(x, window), blur(y, window)
    product, squares = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    covariance = blur(x * y, window) - product
    energy = blur(x * x + y * y, window) - squares
    structure = (2 * covariance + c2) / (energy + c2)
    whole = (2 * product + c1) / (squares + c1) * structure
    return torch.stack([whole.sum((-3, -2, -1)), structure.sum((-3, -2, -1))])


SSIM = Metric(
    "SSIM",
    "Structural similarity",
    partial(_of_whole_levels, white=2),
    over="each",
    combine="sum",
    unit="",
    range=(-2, 2),
    better="higher",
    smallest=7,
    source="Wang, Bovik, Sheikh and Simoncelli, IEEE Trans. Image Process. 13, 600 (2004)",
    note="A sum, with constants for grey levels from -1 to 1 although they go to 255 here.",
)

SSIM_MATLAB = replace(
    SSIM,
    formula=partial(gaussian_similarity, white=1, border="replicate"),
    combine="mean",
    range=(-1, 1),
    smallest=1,
    note="A mean, with constants for grey levels up to 1 although they go to 255 here.",
)

SSIM_SUM = replace(
    SSIM,
    formula=gaussian_similarity,
    smallest=11,
    note="A sum, Gaussian windows inside the image, constants for 255.",
)

SSIM_MEAN = replace(
    SSIM_SUM, combine="mean", range=(-1, 1), note="The paper's definition; a mean over both."
)

SSIM_SUM_OF_1 = replace(
    SSIM_SUM,
    formula=partial(gaussian_similarity, white=1),
    note="A sum, Gaussian windows inside the image, constants for levels up to 1 instead of 255.",
)
