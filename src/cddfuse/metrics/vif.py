"""Visual information fidelity (VIF) of the fused image with each source as reference.

Range: [0, about 1] per source, above 1 where contrast is enhanced. Higher is better.
Source: Sheikh and Bovik, "Image information and visual quality", 2006, in its pixel
domain variant vifp: four scales of pixels instead of a steerable pyramid.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import threshold

from cddfuse.metrics.base import Metric
from cddfuse.metrics.sliding import bands, blur, gaussian
from cddfuse.threads import parallel_map

_WINDOWS = (17, 9, 5, 3)
_SIGMA_N_SQ = 2.0  # variance of the visual noise
_TINY = 1e-10  # variances below it count as 0


def visual_information_fidelity(
    image: Tensor, reference: Tensor, *, saturate: bool = False
) -> Tensor:
    """VIF: information about the reference in the image, over information in the reference.

    Args:
        image: (B, 1, H, W), grey levels, at least 41 x 41.
        reference: like image, or with more leading dimensions: (..., B, 1, H, W).
        saturate: squares and products of the first scale saturate at 255, as in uint8.

    Returns:
        (..., B). NaN for a constant reference, which has no information.
    """
    shape = reference.shape[:-3]
    numerator = denominator = image.new_zeros((), dtype=torch.float64)
    for scaled, size, window in scales(image[None], reference.reshape(-1, *image.shape)):
        top = 255 if saturate and size == _WINDOWS[0] else math.inf
        work = partial(_sums, window=window, top=top)
        for in_image, in_reference in parallel_map(work, scaled):
            numerator, denominator = numerator + in_image, denominator + in_reference
    return (numerator / denominator).view(shape)


def scales(*images: Tensor) -> Iterator[tuple[Iterator[Tensor], int, list[float]]]:
    """Images on four scales, in bands, with the side and the weights of the windows of each.

    Images (N, B, 1, H, W) are stacked in bands (sum of N, B, rows, W). Only the bands are in
    float64, since whole images would take twice the memory.
    """
    planes = tuple(image.squeeze(2) for image in images)
    for size in _WINDOWS:
        window = gaussian(size, size / 5)
        if size < _WINDOWS[0]:
            halved = partial(blur, weights=window, step=2)
            planes = (torch.cat(parallel_map(halved, _together(planes, size)), -2),)
        yield _together(planes, size), size, window


def _together(planes: tuple[Tensor, ...], size: int) -> Iterator[Tensor]:
    for band in zip(*(bands(image, size) for image in planes), strict=True):
        yield torch.cat([image.double() for image in band])


def _sums(planes: Tensor, window: list[float], top: float) -> tuple[Tensor, Tensor]:
    """Information in the image, planes[0], about each reference, planes[1:], and in those."""
    _, snr, sigma_c_sq = information(planes, window, _SIGMA_N_SQ, top)
    return _sum_of_logs(snr.add_(1)), _sum_of_logs(1 + sigma_c_sq / _SIGMA_N_SQ)


def information(
    planes: Tensor, window: list[float], sigma_n_sq: float, top: float = math.inf
) -> tuple[Tensor, Tensor, Tensor]:
    """The distortion model D = g C + V in each window, of references C and an image D.

    Args:
        planes: (N, B, H, W), the image D first, then references C.
        window: weights in each direction.
        sigma_n_sq: variance of the visual noise.
        top: value at which squares and products saturate.

    Returns:
        The gain g, the signal-to-noise ratio g^2 sigma_c^2 / (sigma_v^2 + sigma_n^2), and
        sigma_c^2, each (N - 1, B, rows, columns).
    """
    d, c = planes[:1], planes[1:]
    squares, products = planes * planes, c * d
    if top < math.inf:
        squares, products = squares.clamp(max=top), products.clamp(max=top)
    mu, mean_square, mean_product = (blur(x, window) for x in (planes, squares, products))
    sigma_sq = threshold(torch.addcmul(mean_square, mu, mu, value=-1), _TINY, 0)
    sigma_c_sq = sigma_sq[1:]
    # A negative covariance counts as 0, and so does one with a constant image (whose sign is 0).
    sigma_cd = torch.addcmul(mean_product, mu[1:], mu[:1], value=-1).clamp(min=0)
    g = sigma_cd * sigma_sq[:1].sign() / (sigma_c_sq + _TINY)
    noise = torch.addcmul(sigma_sq[:1] + sigma_n_sq, g, sigma_cd, value=-1)
    return g, g * g * sigma_c_sq / noise.clamp(min=sigma_n_sq + _TINY), sigma_c_sq


def _sum_of_logs(x: Tensor) -> Tensor:
    """One logarithm for each column: 64 rows of at most 8130 multiply to less than 1e308."""
    return x.prod(-2).log().sum(-1)


def _one_if_constant(image: Tensor, reference: Tensor) -> Tensor:
    """VIF as in the evaluator of the published tables: 1 for a constant reference."""
    return visual_information_fidelity(image, reference).nan_to_num(nan=1)


VIF = Metric(
    "VIF",
    "Visual information fidelity",
    _one_if_constant,
    over="each",
    combine="sum",
    unit="",
    range=(0, math.inf),
    better="higher",
    smallest=41,
    source="Sheikh and Bovik, IEEE Trans. Image Process. 15, 430 (2006)",
    note="Pixel domain variant vifp, the sum over both sources; 1 for a constant source.",
    latex=r"\frac{\sum_{k=1}^{4}\sum_{w}\ln\left(1+\frac{g^2\sigma_X^2}{\sigma_v^2+\sigma_n^2}"
    r"\right)}{\sum_{k=1}^{4}\sum_{w}\ln\left(1+\frac{\sigma_X^2}{\sigma_n^2}\right)},"
    r"\quad g=\frac{\sigma_{FX}}{\sigma_X^2},\;\sigma_v^2=\sigma_F^2-g\,\sigma_{FX}",
)

VIF_STRICT = replace(
    VIF,
    formula=visual_information_fidelity,
    note="Pixel domain variant vifp, the sum over both sources; NaN for a constant source.",
)

VIF_MEAN = replace(
    VIF_STRICT,
    combine="mean",
    note="Pixel domain variant vifp, the mean over both sources; NaN for a constant source.",
)

VIF_SATURATED = replace(
    VIF_STRICT,
    formula=partial(visual_information_fidelity, saturate=True),
    note="In saturating uint8 arithmetic, in which only dark pixels count on the first scale.",
)
