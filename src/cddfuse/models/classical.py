"""Classical baselines: trivial methods, Laplacian pyramid, wavelets, guided filter.

They have no parameters and take images of any size. Results are clipped to [0, 1].
"""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cddfuse.errors import InputError
from cddfuse.filters import gaussian_window
from cddfuse.models.base import Card, Decomposed, FusionModel, Part

Array = np.ndarray
_LEVELS = 4  # of pyramids and wavelets; fewer for small images


class First(FusionModel):
    """The first image, unchanged."""

    card = Card(name="first", paper="", receptive_radius=0, bytes_per_pixel=4)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Fuse: (B, 1, H, W) and (B, 1, H, W) to (B, 1, H, W)."""
        return first.clone()


class Second(FusionModel):
    """The second image, unchanged."""

    card = Card(name="second", paper="", receptive_radius=0, bytes_per_pixel=4)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Fuse: (B, 1, H, W) and (B, 1, H, W) to (B, 1, H, W)."""
        return second.clone()


class Mean(FusionModel):
    """The mean of both images."""

    card = Card(name="mean", paper="", receptive_radius=0, bytes_per_pixel=8)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Fuse: (B, 1, H, W) and (B, 1, H, W) to (B, 1, H, W)."""
        return (first + second) / 2


class Max(FusionModel):
    """The pixel-wise maximum of both images."""

    card = Card(name="max", paper="", receptive_radius=0, bytes_per_pixel=4)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Fuse: (B, 1, H, W) and (B, 1, H, W) to (B, 1, H, W)."""
        return torch.maximum(first, second)


class Laplacian(FusionModel):
    """Laplacian pyramids: the larger detail coefficient at every scale, the mean of the base.

    Paper: Burt and Adelson, "The Laplacian Pyramid as a Compact Image Code", 1983; the choice of
    the larger coefficient is that of Burt and Kolczynski, ICCV 1993.
    """

    card = Card(
        name="laplacian",
        paper="https://doi.org/10.1109/TCOM.1983.1095851",
        bytes_per_pixel=75,
    )

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Fuse: (B, 1, H, W) and (B, 1, H, W) to (B, 1, H, W)."""
        return _one_by_one(self._fused, first, second)

    @staticmethod
    def _fused(first: Array, second: Array) -> Array:
        (*details1, base1), (*details2, base2) = _pyramid(first), _pyramid(second)
        fused = (base1 + base2) / 2
        for one, two in zip(reversed(details1), reversed(details2), strict=True):
            fused = _larger(fused, one) + _stronger(one, two)
        return fused

    def decomposed(self, first: Tensor, second: Tensor) -> Decomposed:
        """The base at the size of the image, and all scales of detail added up."""
        return _in_two(self._base, self._fused, first, second)

    @staticmethod
    def _base(image: Array) -> Array:
        *details, base = _pyramid(image)
        for detail in reversed(details):
            base = _larger(base, detail)
        return base


class Wavelets(FusionModel):
    """Discrete wavelet transform: the larger detail coefficient, the mean of the approximation.

    Paper: Li, Manjunath and Mitra, "Multisensor Image Fusion Using the Wavelet Transform", 1995;
    they compare coefficients over a neighbourhood, here it is one by one. Daubechies wavelets with
    two vanishing moments.
    """

    card = Card(
        name="dwt",
        paper="https://doi.org/10.1006/gmip.1995.1022",
        bytes_per_pixel=65,
        requires=("pywt",),
    )

    def __init__(self) -> None:
        super().__init__()
        _package("pywt")  # fails early

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Fuse: (B, 1, H, W) and (B, 1, H, W) to (B, 1, H, W)."""
        return _one_by_one(self._fused, first, second)

    @staticmethod
    def _fused(first: Array, second: Array) -> Array:
        pywt = _package("pywt")
        wavelet = pywt.Wavelet("db2")
        levels = min(_LEVELS, pywt.dwt_max_level(min(first.shape), wavelet))
        (base1, *details1), (base2, *details2) = (
            pywt.wavedec2(image, wavelet, level=levels) for image in (first, second)
        )
        details = [
            tuple(map(_stronger, one, two)) for one, two in zip(details1, details2, strict=True)
        ]
        fused = pywt.waverec2([(base1 + base2) / 2, *details], wavelet)
        return fused[: first.shape[0], : first.shape[1]]  # odd sides come back larger by one

    def decomposed(self, first: Tensor, second: Tensor) -> Decomposed:
        """The approximation at the size of the image, and all scales of detail added up."""
        return _in_two(self._base, self._fused, first, second)

    @staticmethod
    def _base(image: Array) -> Array:
        pywt = _package("pywt")
        wavelet = pywt.Wavelet("db2")
        levels = min(_LEVELS, pywt.dwt_max_level(min(image.shape), wavelet))
        base, *details = pywt.wavedec2(image, wavelet, level=levels)
        flat = [tuple(map(np.zeros_like, detail)) for detail in details]
        return pywt.waverec2([base, *flat], wavelet)[: image.shape[0], : image.shape[1]]


class GuidedFilter(FusionModel):
    """Base and detail layers, with weight maps that follow the edges of the sources.

    Paper: Li, Kang and Hu, "Image Fusion With Guided Filtering", 2013, with its parameters.
    At borders, means are over the part of the window inside the image.
    """

    card = Card(
        name="guided",
        paper="https://doi.org/10.1109/TIP.2013.2244222",
        receptive_radius=1 + 5 + 45 + 45,
        bytes_per_pixel=1045,
    )

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Fuse: (B, 1, H, W) and (B, 1, H, W) to (B, 1, H, W)."""
        parts = self._parts(first.double(), second.double())
        return _sum({kind: part.fused for kind, part in parts.items()}).to(first.dtype)

    def decomposed(self, first: Tensor, second: Tensor) -> Decomposed:
        """Base and detail layers, in double precision."""
        parts = self._parts(first.double(), second.double())
        return Decomposed(parts, lambda fused, _: _sum(fused).to(first.dtype))

    @staticmethod
    def _parts(first: Tensor, second: Tensor) -> dict[str, Part]:
        sources = [first, second]
        bases = [_box(image, 15) for image in sources]
        details = [image - base for image, base in zip(sources, bases, strict=True)]
        chosen = (_saliency(first) >= _saliency(second)).double()
        maps = (chosen, 1 - chosen)
        return {
            "base": Part(bases[0], bases[1], _weighted(bases, maps, sources, 45, 0.3)),
            "detail": Part(details[0], details[1], _weighted(details, maps, sources, 7, 1e-6)),
        }


def _weighted(
    layers: Sequence[Tensor],
    maps: Sequence[Tensor],
    guides: Sequence[Tensor],
    radius: int,
    smoothing: float,
) -> Tensor:
    """Weighted sum of both layers, with weights that sum to 1 at every pixel."""
    one, two = (
        _guided(chosen, guide, radius, smoothing).clamp(min=0)
        for chosen, guide in zip(maps, guides, strict=True)
    )
    total = one + two
    share = torch.where(total > 0, one / total.clamp(min=1e-12), 0.5)
    return share * layers[0] + (1 - share) * layers[1]


def _guided(image: Tensor, guide: Tensor, radius: int, smoothing: float) -> Tensor:
    """The guided filter of He, Sun and Tang."""
    mean, mean_guide = _box(image, radius), _box(guide, radius)
    covariance = _box(guide * image, radius) - mean_guide * mean
    slope = covariance / (_box(guide * guide, radius) - mean_guide**2 + smoothing)
    offset = mean - slope * mean_guide
    return _box(slope, radius) * guide + _box(offset, radius)


def _saliency(image: Tensor) -> Tensor:
    """Blurred magnitude of the Laplacian."""
    kernel = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]]).to(image)
    strength = F.conv2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), kernel[None, None]).abs()
    line = gaussian_window(11, 5.0).to(image)
    window = torch.outer(line, line)[None, None]
    return F.conv2d(F.pad(strength, (5, 5, 5, 5), mode="replicate"), window)


def _box(image: Tensor, radius: int) -> Tensor:
    for size, padding in (((2 * radius + 1, 1), (radius, 0)), ((1, 2 * radius + 1), (0, radius))):
        image = F.avg_pool2d(image, size, stride=1, padding=padding, count_include_pad=False)
    return image


def _pyramid(image: Array) -> list[Array]:
    """Details from fine to coarse, then the base."""
    levels: list[Array] = []
    while len(levels) < _LEVELS and min(image.shape) >= 2:
        smaller = cv2.pyrDown(image)
        levels.append(image - _larger(smaller, image))
        image = smaller
    return [*levels, image]


def _larger(image: Array, target: Array) -> Array:
    return cv2.pyrUp(image, dstsize=(target.shape[1], target.shape[0]))


def _stronger(one: Array, two: Array) -> Array:
    return np.where(np.abs(one) >= np.abs(two), one, two)


def _in_two(
    base: Callable[[Array], Array],
    fuse: Callable[[Array, Array], Array],
    first: Tensor,
    second: Tensor,
) -> Decomposed:
    """Base and detail of a linear transform: both images, and the fused one before it is clipped.

    Args:
        base: of an image (H, W), by the transform. That of the fused image is the mean of both.
        fuse: what the method computes.
        first: (B, 1, H, W).
        second: likewise.
    """
    images = [x.detach().double().cpu().numpy()[:, 0] for x in (first, second)]
    bases = [np.stack([base(image) for image in batch]) for batch in images]
    bases.append((bases[0] + bases[1]) / 2)
    images.append(np.stack([fuse(one, two) for one, two in zip(*images, strict=True)]))
    details = [image - low for image, low in zip(images, bases, strict=True)]
    parts = {
        kind: Part(*(torch.from_numpy(layer)[:, None].to(first.device) for layer in layers))
        for kind, layers in (("base", bases), ("detail", details))
    }
    return Decomposed(parts, lambda fused, _: _sum(fused).to(first))


def _sum(layers: Mapping[str, Tensor]) -> Tensor:
    return layers["base"].add(layers["detail"]).clamp(0, 1)


def _one_by_one(fuse: Callable[[Array, Array], Array], first: Tensor, second: Tensor) -> Tensor:
    """Apply a function of two images (H, W), in double precision, to a batch."""
    pairs = zip(*(x.detach().double().cpu().numpy()[:, 0] for x in (first, second)), strict=True)
    fused = np.stack([fuse(one, two) for one, two in pairs])
    return torch.from_numpy(fused)[:, None].clamp(0, 1).to(first)


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise InputError(
            "this method needs one more package: pip install 'cddfuse[classical]'."
        ) from error
