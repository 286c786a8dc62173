"""Visual information fidelity (VIF): the share of what an eye can tell in the source that is left.

Range: [0, about 1] per source, above 1 where contrast is raised. Higher is better.
Source: Sheikh and Bovik, "Image information and visual quality", 2006, in the form of their
simplified program vifp: pixels of four scales instead of a steerable pyramid.
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
_NOISE = 2.0  # variance of what the eye itself adds
_TINY = 1e-10  # of variances: below it a window counts as flat


def visual_information_fidelity(
    image: Tensor, reference: Tensor, *, saturate: bool = False
) -> Tensor:
    """VIF of images, what is left in `image` of what `reference` shows.

    Args:
        image: (B, 1, H, W), grey levels, at least 41 x 41.
        reference: like image, or with more dimensions in front: (..., B, 1, H, W).
        saturate: squares and products of the first scale stop at 255, as in 8-bit arithmetic.

    Returns:
        (..., B). NaN for a flat reference, which shows nothing.
    """
    shape = reference.shape[:-3]
    seen = shown = image.new_zeros((), dtype=torch.float64)
    for scaled, size, window in scales(image[None], reference.reshape(-1, *image.shape)):
        top = 255 if saturate and size == _WINDOWS[0] else math.inf
        work = partial(_sums, window=window, top=top)
        for left, all_of_it in parallel_map(work, scaled):
            seen, shown = seen + left, shown + all_of_it
    return (seen / shown).view(shape)


def scales(*images: Tensor) -> Iterator[tuple[Iterator[Tensor], int, list[float]]]:
    """Bands of images on four scales, with the side and the weights of the windows there.

    Images (N, B, 1, H, W), one after the other in bands (sum of N, B, rows, W), which alone are in
    float64: whole images would take twice the memory.
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
    _, left, shown = information(planes, window, _NOISE, top)
    return _sum_of_logs(left.add_(1)), _sum_of_logs(1 + shown / _NOISE)


def information(
    planes: Tensor, window: list[float], noise: float, top: float = math.inf
) -> tuple[Tensor, Tensor, Tensor]:
    """Gain from each reference, planes[1:], to the image, planes[0]; signal to noise; variance.

    Each for every window. Signal to noise is that of the reference seen through the image by an eye
    that adds `noise`; `top` is where squares and products stop.
    """
    image, references = planes[:1], planes[1:]
    squares, products = planes * planes, references * image
    if top < math.inf:
        squares, products = squares.clamp(max=top), products.clamp(max=top)
    mean, square, product = (blur(x, window) for x in (planes, squares, products))
    variance = threshold(torch.addcmul(square, mean, mean, value=-1), _TINY, 0)
    shown = variance[1:]
    # A negative covariance counts as none, and so does one with a flat image (whose sign is 0).
    covariance = torch.addcmul(product, mean[1:], mean[:1], value=-1).clamp(min=0)
    gain = covariance * variance[:1].sign() / (shown + _TINY)
    unlike = torch.addcmul(variance[:1] + noise, gain, covariance, value=-1)
    return gain, gain * gain * shown / unlike.clamp(min=noise + _TINY), shown


def _sum_of_logs(x: Tensor) -> Tensor:
    """Logarithms of columns at once: up to 64 rows of at most 8130 are well below 1e308."""
    return x.prod(-2).log().sum(-1)


def _flat_is_kept(image: Tensor, reference: Tensor) -> Tensor:
    """As the evaluator of the published tables has it: nothing to see is fully seen."""
    return visual_information_fidelity(image, reference).nan_to_num(nan=1)


VIF = Metric(
    "VIF",
    "Visual information fidelity",
    _flat_is_kept,
    over="each",
    combine="sum",
    unit="",
    range=(0, math.inf),
    better="higher",
    smallest=41,
    source="Sheikh and Bovik, IEEE Trans. Image Process. 15, 430 (2006)",
    note="The pixel-domain form vifp, summed over both sources; 1 for a flat source.",
)

VIF_STRICT = replace(
    VIF,
    formula=visual_information_fidelity,
    note="The pixel-domain form vifp, summed over both sources; NaN for a flat source.",
)

VIF_MEAN = replace(
    VIF_STRICT, combine="mean", note="The pixel-domain form vifp; a mean, NaN for a flat source."
)

VIF_SATURATED = replace(
    VIF_STRICT,
    formula=partial(visual_information_fidelity, saturate=True),
    note="In saturating 8-bit arithmetic, which leaves of the first scale only dark pixels.",
)
