"""Structural similarity (SSIM) of the fused image and each source.

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
    """SSIM as in scikit-image: uniform 7 x 7 windows, sample covariances.

    Args:
        x: (B, 1, H, W), grey levels, at least 7 x 7.
        y: like x, or with more leading dimensions: (..., B, 1, H, W).
        white: L, the dynamic range for which C1 and C2 are computed.

    Returns:
        (..., B), the mean over all windows inside the image.
    """
    pairs = zip(bands(x, _BOX), bands(y, _BOX), strict=True)
    sums = parallel_map(partial(_box_similarity, white=white), pairs)
    return torch.stack(sums).sum(0) / ((x.shape[-2] - _BOX + 1) * (x.shape[-1] - _BOX + 1))


def _box_similarity(pair: tuple[Tensor, Tensor], white: float) -> Tensor:
    """Sum over the windows of a band."""
    x, y = pair
    c1, c2 = _scaled_constants(white)
    # Sums instead of means: sums of integer levels are exact, in float32 too, and so are their
    # differences in float64, however small the constants are. Means carry a factor n, products of
    # means n^2, covariances n (n - 1).
    mu_x, mu_y = box7(x).double(), box7(y).double()
    mu_xy = mu_x * mu_y
    mu_squares = torch.addcmul(mu_x * mu_x, mu_y, mu_y)
    sigma_xy = box7(x * y).double().mul_(_BOX**2).sub_(mu_xy)
    sigma_squares = box7(torch.addcmul(x * x, y, y)).double().mul_(_BOX**2).sub_(mu_squares)
    numerator = mu_xy.mul(2).add_(c1) * sigma_xy.mul_(2).add_(c2)
    return (numerator / (mu_squares.add_(c1) * sigma_squares.add_(c2))).sum((-3, -2, -1))


def _scaled_constants(white: float) -> tuple[float, float]:
    """C1 and C2 with the factors of the products and covariances that they are added to."""
    n = _BOX**2
    return (_K1 * white) ** 2 * n**2, (_K2 * white) ** 2 * n * (n - 1)


def _of_integer_levels(x: Tensor, y: Tensor, *, white: float) -> Tensor:
    """`structural_similarity` in integer arithmetic, which takes half the time."""
    if not x.is_cpu:
        return structural_similarity(x, y, white=white)
    pairs = zip(bands(x, _BOX), bands(y, _BOX), strict=True)
    sums = parallel_map(partial(_integer_box_similarity, white=white), pairs)
    return torch.stack(sums).sum(0) / ((x.shape[-2] - _BOX + 1) * (x.shape[-1] - _BOX + 1))


def _integer_box_similarity(pair: tuple[Tensor, Tensor], white: float) -> Tensor:
    """Sum over the windows of a band."""
    x, y = (band.numpy().astype(np.uint8) for band in pair)
    c1, c2 = _scaled_constants(white)
    mu_x, mu_y = _sums(cv2.boxFilter, x), _sums(cv2.boxFilter, y)
    difference = np.maximum(x, y) - np.minimum(x, y)
    # 2 x y = x^2 + y^2 - (x - y)^2
    sigma_squares = (_sums(cv2.sqrBoxFilter, x) + _sums(cv2.sqrBoxFilter, y)).mul_(_BOX**2)
    twice_sigma_xy = sigma_squares.sub(_sums(cv2.sqrBoxFilter, difference), alpha=_BOX**2)
    mu_xy = mu_x * mu_y
    twice_sigma_xy.sub_(mu_xy, alpha=2)
    mu_squares = (mu_y * mu_y).add_(mu_x * mu_x)
    sigma_squares.sub_(mu_squares)
    numerator = mu_xy.double().mul_(2).add_(c1).mul_(twice_sigma_xy.double().add_(c2))
    denominator = mu_squares.double().add_(c1).mul_(sigma_squares.double().add_(c2))
    return numerator.div_(denominator).sum((-3, -2, -1))


def _sums(box: Callable[..., object], levels: NDArray[np.uint8]) -> Tensor:
    """Sums over 7 x 7 windows by a filter of OpenCV: (..., H, W) to (..., H - 6, W - 6), int32."""
    sums = np.empty(levels.shape, np.int32)
    planes = (image.reshape(-1, *image.shape[-2:]) for image in (levels, sums))
    for plane, place in zip(*planes, strict=True):
        # Windows start at their pixel; those that reach beyond the image are cut off.
        box(plane, cv2.CV_32S, (_BOX, _BOX), place, (0, 0), False, cv2.BORDER_CONSTANT)
    return torch.from_numpy(sums)[..., : 1 - _BOX, : 1 - _BOX]


def gaussian_similarity(
    x: Tensor, y: Tensor, *, white: float = 255, border: Literal["none", "replicate"] = "none"
) -> Tensor:
    """SSIM as in the paper: Gaussian 11 x 11 windows, population covariances.

    Args:
        x: (B, 1, H, W), grey levels, at least 11 x 11 without a border.
        y: like x, or with more leading dimensions: (..., B, 1, H, W).
        white: L, the dynamic range for which C1 and C2 are computed.
        border: "none" takes windows inside the image only; "replicate" pads it for one per pixel.

    Returns:
        (..., B), the mean over all windows.
    """
    if border == "replicate":
        x, y = framed(x, _RADIUS, "replicate"), framed(y, _RADIUS, "replicate")
    return luminance_and_structure(x, y, white)[0]


def luminance_and_structure(x: Tensor, y: Tensor, white: float = 255) -> tuple[Tensor, Tensor]:
    """Means over the Gaussian windows of SSIM, and of its contrast-structure term alone."""
    size = 2 * _RADIUS + 1
    pairs = zip(bands(x.double(), size), bands(y.double(), size), strict=True)
    sums = torch.stack(parallel_map(partial(_gaussian_similarity, white=white), pairs)).sum(0)
    ssim, structure = sums / ((x.shape[-2] - size + 1) * (x.shape[-1] - size + 1))
    return ssim, structure


def _gaussian_similarity(pair: tuple[Tensor, Tensor], white: float) -> Tensor:
    """Both sums over the windows of a band: (2, ..., B)."""
    x, y = pair
    c1, c2 = (_K1 * white) ** 2, (_K2 * white) ** 2
    window = gaussian(2 * _RADIUS + 1, 1.5)
    mu_x, mu_y = blur(x, window), blur(y, window)
    mu_xy, mu_squares = mu_x * mu_y, mu_x * mu_x + mu_y * mu_y
    sigma_xy = blur(x * y, window) - mu_xy
    sigma_squares = blur(x * x + y * y, window) - mu_squares
    structure = (2 * sigma_xy + c2) / (sigma_squares + c2)
    ssim = (2 * mu_xy + c1) / (mu_squares + c1) * structure
    return torch.stack([ssim.sum((-3, -2, -1)), structure.sum((-3, -2, -1))])


SSIM = Metric(
    "SSIM",
    "Structural similarity",
    partial(_of_integer_levels, white=2),
    over="each",
    combine="sum",
    unit="",
    range=(-2, 2),
    better="higher",
    smallest=7,
    source="Wang, Bovik, Sheikh and Simoncelli, IEEE Trans. Image Process. 13, 600 (2004)",
    note="The sum over both sources, with L = 2 although levels go to 255.",
    latex=r"\frac{1}{N}\sum_{w}\frac{(2\mu_F\mu_X+C_1)(2\sigma_{FX}+C_2)}{(\mu_F^2+\mu_X^2"
    r"+C_1)(\sigma_F^2+\sigma_X^2+C_2)},\quad C_1=(0.01L)^2,\;C_2=(0.03L)^2",
)

SSIM_MATLAB = replace(
    SSIM,
    formula=partial(gaussian_similarity, white=1, border="replicate"),
    combine="mean",
    range=(-1, 1),
    smallest=1,
    note="The mean over both sources, Gaussian windows, with L = 1 although levels go to 255.",
)

SSIM_SUM = replace(
    SSIM,
    formula=gaussian_similarity,
    smallest=11,
    note="The sum over both sources, Gaussian windows inside the image, L = 255.",
)

SSIM_MEAN = replace(
    SSIM_SUM,
    combine="mean",
    range=(-1, 1),
    note="The definition of the paper; the mean over both sources.",
)

SSIM_SUM_OF_1 = replace(
    SSIM_SUM,
    formula=partial(gaussian_similarity, white=1),
    note="The sum over both sources, Gaussian windows, with L = 1 although levels go to 255.",
)
