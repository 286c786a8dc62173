"""Does a pair look misaligned? A quick check of shifts, much cheaper than aligning.

The correlation of the descriptors is computed for all shifts of up to 12 pixels of small images.
Thresholds: chosen on the training pairs of RoadScene, where 4 % of the registered ones exceed them.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from cddfuse import colour
from cddfuse.pair import ImagePair
from cddfuse.registration.descriptor import mind
from cddfuse.registration.geometry import resized

_LONGEST = 320  # longer side of the small images
_REACH = 12
_SMALLEST = 4 * _REACH  # shorter side of images that can be checked
_SHIFT, _GAIN = 1.5, 0.014
_GROUPS = 2  # of channels, correlated on their own


class Offset(NamedTuple):
    """The shift at which two images agree best."""

    x: float
    """Pixels of the first image, to the right: where its pixels lie in the second."""

    y: float
    gain: float
    """Correlation at that shift less that without a shift."""

    @property
    def distance(self) -> float:
        """Length in pixels."""
        return float((self.x**2 + self.y**2) ** 0.5)

    @property
    def suspicious(self) -> bool:
        """Whether the pair looks misaligned."""
        return self.distance > _SHIFT and self.gain > _GAIN


@torch.inference_mode()
def offset(pair: ImagePair) -> Offset | None:
    """The shift between two images of one size, (C, H, W); None if they are too small to say."""
    first, second = (colour.luma(image)[None].float().cpu() for image in pair[:2])
    height, width = first.shape[-2:]
    coarse = max(1.0, max(height, width) / _LONGEST)
    size = round(height / coarse), round(width / coarse)
    if min(size) < _SMALLEST:
        return None
    one, other = (mind(resized(image, size)[0])[0] for image in (first, second))
    surface = _surface(one, other)
    place = int(surface.argmax())
    down, right = (at - _REACH for at in divmod(place, surface.shape[1]))
    gain = float(surface.max() - surface[_REACH, _REACH])
    return Offset(right * width / size[1], down * height / size[0], gain)


def _surface(one: Tensor, other: Tensor) -> Tensor:
    """Correlation of the middle of `one` (C, H, W) with each window of `other`, by shift.

    (25, 25), no shift in the centre: the mean over groups of channels, each of zero mean.
    """
    middle = one[:, _REACH:-_REACH, _REACH:-_REACH]
    height, width = middle.shape[-2:]
    size = other.shape[-2:]
    template = middle - middle.mean((1, 2), keepdim=True)
    spectrum = torch.fft.rfft2(template, s=size).conj() * torch.fft.rfft2(other)
    groups = spectrum.view(_GROUPS, -1, *spectrum.shape[1:]).sum(1)
    product = torch.fft.irfft2(groups, s=size)[:, : 2 * _REACH + 1, : 2 * _REACH + 1]
    count = height * width
    sums, squares = _sums(torch.cat((other, other * other)), height, width).chunk(2)
    spread = squares - sums * sums / count
    lengths = [x.view(_GROUPS, -1, *x.shape[1:]).sum(1) for x in (spread, template.square())]
    own = lengths[1].sum((1, 2))[:, None, None]
    return (product / (own * lengths[0]).clamp(min=1e-9).sqrt()).mean(0)


def _sums(images: Tensor, height: int, width: int) -> Tensor:
    """Sum over each window of that size of images (C, H, W)."""
    down, across = (
        torch.ones(total, total).tril(side - 1).triu()[: total - side + 1]
        for total, side in zip(images.shape[-2:], (height, width), strict=True)
    )
    return down @ images @ across.T
