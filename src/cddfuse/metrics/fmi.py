"""Feature mutual information (FMI) of local windows of the fused image and each source.

Range: [0, 1]. Higher is better.
Source: Haghighat, Aghagolzadeh and Seyedarabi, "A non-reference image fusion metric based on mutual
information of image features", 2011; Haghighat and Razian, "Fast-FMI", 2014.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor

from cddfuse.metrics.base import Metric
from cddfuse.metrics.gradients import framed, sobel
from cddfuse.metrics.loops import loops, of_each

_CHUNK = 4096  # windows at a time; each has 81 pairs of pixels


def feature_mutual_information(
    x: Tensor, y: Tensor, *, feature: Callable[[Tensor], Tensor] = Tensor.double
) -> Tensor:
    """Mean over all 3 x 3 windows of the normalised mutual information of features.

    A window is taken as a distribution over its nine positions. The joint distribution is the
    mixture of independence and of the Frechet bound that has the correlation of the two.

    Args:
        x: (B, 1, H, W), grey levels, at least 3 x 3.
        y: like x, or with more leading dimensions: (..., B, 1, H, W). Symmetric in x and y.
        feature: the feature map of images (..., H, W).

    Returns:
        (..., B).
    """
    x, y = feature(x.double()), feature(y.double())
    if compiled := loops(x, y):
        total = of_each(compiled.window_information, x, y).squeeze(-1)
        return total / ((x.shape[-2] - 2) * (x.shape[-1] - 2))
    x, y = _windows(x), _windows(y)
    x = x.expand_as(y)
    different = (x != y).any(-1)
    fmi = torch.ones_like(different, dtype=torch.float64)
    pairs = zip(x[different].split(_CHUNK), y[different].split(_CHUNK), strict=True)
    values = [_information(a, b) for a, b in pairs]
    if values:
        fmi[different] = torch.cat(values)
    return fmi.mean(-1)


def horizontal(image: Tensor) -> Tensor:
    """Horizontal gradient: central differences, one-sided at the border."""
    return torch.gradient(image, dim=-1)[0]


def edges(image: Tensor) -> Tensor:
    """Binary map of thinned edges: MATLAB's `edge` with its threshold for Sobel gradients."""
    sy, sx = (gradient.abs() / 8 for gradient in sobel(framed(image, 1, "replicate")))
    power = sy * sy + sx * sx
    slack = 100 * torch.finfo(power.dtype).eps
    around = framed(power, 1, "constant")
    thin_across = (around[..., 1:-1, :-2] <= power) & (power > around[..., 1:-1, 2:])
    thin_down = (around[..., :-2, 1:-1] <= power) & (power > around[..., 2:, 1:-1])
    steepest = ((sx >= sy - slack) & thin_across) | ((sy >= sx - slack) & thin_down)
    strong = power > 4 * power.mean((-2, -1), keepdim=True)
    return (strong & steepest).double()


def cosines(image: Tensor) -> Tensor:
    """Orthonormal two-dimensional discrete cosine transform of the whole image."""
    height, width = image.shape[-2:]
    # The mean is transformed separately: constant images then have no other frequency.
    mean = image.mean((-2, -1), keepdim=True)
    waves = _cosine_matrix(height, image) @ (image - mean) @ _cosine_matrix(width, image).mT
    constant = F.pad(mean * (height * width) ** 0.5, (0, width - 1, 0, height - 1))
    return waves + constant


def _cosine_matrix(size: int, like: Tensor) -> Tensor:
    place = torch.arange(size, dtype=like.dtype, device=like.device)
    matrix = (torch.pi / size * place[:, None] * (place + 0.5)).cos() * (2 / size) ** 0.5
    matrix[0] /= 2**0.5
    return matrix


def wavelet(image: Tensor) -> Tensor:
    """One level of the two-dimensional discrete Meyer wavelet transform, scaled to [0, 1].

    The parts [cA cH; cV cD] of MATLAB's `dwt2` with "dmey"; cH, at the top right, is the high pass
    along columns. The sides of each are half of those of the image plus 50, for the border is
    extended by reflection.
    """
    sides = [_half_band(image.mT, high).mT for high in (False, True)]
    parts = torch.cat(
        [torch.cat([_half_band(side, high) for side in sides], -1) for high in (False, True)], -2
    )
    low = parts.amin((-2, -1), keepdim=True)
    span = parts.amax((-2, -1), keepdim=True) - low
    return (parts - low) / span.where(span > 0, 1)


def _half_band(image: Tensor, high: bool) -> Tensor:
    """Filtered rows (..., W) at a stride of 2: (..., (W + 101) // 2)."""
    taps = _meyer()
    if high:
        taps = [-tap if place % 2 else tap for place, tap in enumerate(reversed(taps))]
    size, count = image.shape[-1], (image.shape[-1] + len(taps) - 1) // 2
    places = torch.arange(2 - len(taps), 2 * count, device=image.device) % (2 * size)
    mirrored = image[..., torch.where(places < size, places, 2 * size - 1 - places)]
    total = torch.zeros_like(mirrored[..., :count])
    # In the same order everywhere, so that constant rows stay constant to the last bit.
    for start, tap in enumerate(taps):
        total = total + tap * mirrored[..., start : start + 2 * count - 1 : 2]
    return total


@cache
def _meyer() -> list[float]:
    """The 102 taps of MATLAB's "dmey", of which the last is 0; PyWavelets has another one of 62."""
    circle = torch.arange(-4096, 4096, dtype=torch.float64) * (math.pi / 4096)
    x = (3 * circle.abs() / math.pi - 1).clamp(0, 1)
    response = (math.pi / 2 * x**4 * (35 - 84 * x + 70 * x**2 - 20 * x**3)).cos()
    waves = (torch.arange(-50, 51)[:, None] * circle).cos()
    return [*(2**0.5 * (response * waves).mean(1)).tolist(), 0.0]


def _windows(feature: Tensor) -> Tensor:
    """(..., B, 1, H, W) to (..., B, windows, 9), in the column-major order of MATLAB."""
    return feature.squeeze(-3).unfold(-2, 3, 1).unfold(-2, 3, 1).mT.flatten(-4, -3).flatten(-2)


def _information(x: Tensor, y: Tensor) -> Tensor:
    """Normalised mutual information of windows (N, 9): (N,)."""
    p, q = _distribution(x), _distribution(y)
    rho = _correlation(p, q)
    cdf_p, cdf_q = p.cumsum(-1)[..., :, None], q.cumsum(-1)[..., None, :]
    bound = torch.where(  # Frechet's upper or lower one
        (rho >= 0)[:, None, None],
        torch.minimum(cdf_p, cdf_q),
        (cdf_p + cdf_q - 1).clamp(min=0),
    )
    sigmas = _sigma(p) * _sigma(q)
    rho_bound = (bound - cdf_p * cdf_q).sum((-2, -1)) / sigmas
    phi = (rho / rho_bound).where((rho != 0) & (sigmas > 0), 0)[:, None, None]
    independent = p[..., :, None] * q[..., None, :]
    joint = phi * _density(bound) + (1 - phi) * independent
    entropies = _bits(p) + _bits(q)
    information = entropies - _bits(joint.flatten(-2))
    return (2 * information / entropies).where(information != 0, 0)


def _distribution(window: Tensor) -> Tensor:
    low, high = window.amin(-1, keepdim=True), window.amax(-1, keepdim=True)
    scaled = torch.where(low == high, 1, (window - low) / (high - low))
    return scaled / scaled.sum(-1, keepdim=True)


def _correlation(p: Tensor, q: Tensor) -> Tensor:
    p, q = p - p.mean(-1, keepdim=True), q - q.mean(-1, keepdim=True)
    common = (p * q).sum(-1)
    return torch.where(common == 0, 0, common / (p.square().sum(-1) * q.square().sum(-1)).sqrt())


def _sigma(p: Tensor) -> Tensor:
    """Standard deviation of the position, counted from 1."""
    position = torch.arange(1.0, 10, dtype=p.dtype, device=p.device)
    return ((p * position**2).sum(-1) - (p * position).sum(-1) ** 2).clamp(min=0).sqrt()


def _density(cumulative: Tensor) -> Tensor:
    for dim in (-2, -1):
        first = torch.zeros_like(cumulative.narrow(dim, 0, 1))
        cumulative = cumulative.diff(dim=dim, prepend=first)
    return cumulative


def _bits(p: Tensor) -> Tensor:
    """Entropy; the real part, where rounding makes a probability negative."""
    return -torch.where(p == 0, 0, p * p.abs().log2()).sum(-1)


FMI = Metric(
    "FMI",
    "Feature mutual information",
    partial(feature_mutual_information, feature=edges),
    over="each",
    combine="mean",
    unit="",
    range=(0, 1),
    better="higher",
    smallest=3,
    source="Haghighat and Razian, Fast-FMI, AICT (2014)",
    note="Of thinned edges, the default of its program; toolboxes print it as FMI_pixel.",
    latex=r"\frac{1}{N}\sum_{w=1}^{N}\frac{2\,I\left(\varphi(F)_w;\varphi(X)_w\right)}{H"
    r"\left(\varphi(F)_w\right)+H\left(\varphi(X)_w\right)}",
)

FMI_PIXEL = replace(FMI, formula=feature_mutual_information, note="Of the grey levels themselves.")

FMI_GRADIENT = replace(
    FMI,
    name="FMI_gradient",
    formula=partial(feature_mutual_information, feature=horizontal),
    note="Of horizontal gradients.",
)

FMI_DCT = replace(
    FMI,
    name="FMI_dct",
    formula=partial(feature_mutual_information, feature=cosines),
    note="Of the discrete cosine transform of the whole image.",
)

FMI_WAVELET = replace(
    FMI,
    name="FMI_wavelet",
    formula=partial(feature_mutual_information, feature=wavelet),
    smallest=1,
    note="Of one level of the discrete Meyer wavelet transform, with MATLAB's filter dmey.",
)
