"""Target contrast (TC): how much of a target's contrast in one source the fused image keeps.

Targets are what is hot in the infrared image, or active in PET and SPECT: regions well above their
surroundings. Contrast is the mean of a region less that of a ring around it.

Range: [-1, 1.5] for each target; 1 is the source's own contrast, below 0 a target is inverted.
Higher is better. NaN where the source has no target.
Source: no paper; the definition is this module.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cddfuse.metrics.base import Metric
from cddfuse.threads import parallel_map

LOST = 0.25
"""A target that keeps less of its contrast is lost."""

_PERCENTILE, _ABOVE = 90, 30  # a hot pixel: among the brightest, and so far above what is around
_FAINTEST = 25  # least contrast of a target in its source, grey levels
_RANGE = (-1.0, 1.5)
_HOTTEST = 70  # percentile within a labelled box

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]
Corners = tuple[int, int, int, int]


class Size(NamedTuple):
    """Which regions are targets."""

    surroundings: int
    """The image's longer side over this is the sigma of the blur that pixels must exceed."""

    least: float
    """Least area, as a share of the image."""

    most: float


SMALL = Size(25, 0.0003, 0.05)
LARGE = Size(8, 0.002, 0.12)


class Box(NamedTuple):
    """Pixels that hold a region; right and bottom are the first ones outside."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def grown(self, down: int, across: int) -> "Box":
        """With so many more pixels on each side, as far as the image goes up and left."""
        left, top = max(self.left - across, 0), max(self.top - down, 0)
        return Box(left, top, self.right + across, self.bottom + down)


class Target(NamedTuple):
    """A region of an image and the ring around it, within a window of the image."""

    window: tuple[slice, slice]
    inside: Mask
    ring: Mask

    def contrast(self, image: Image) -> float:
        """Mean of the region less that of the ring."""
        part = image[self.window]
        return float(part[self.inside].mean() - part[self.ring].mean())

    def kept(self, fused: Image, source: Image) -> float:
        """The contrast in the fused image, as a share of that in the source."""
        return float(np.clip(self.contrast(fused) / self.contrast(source), *_RANGE))


@dataclass(frozen=True)
class TargetSummary:
    """What became of the targets of a set of images."""

    targets: int
    kept: float
    """Mean share of the contrast; NaN without targets, like the next two."""

    lost: float
    """Share of the targets that keep less than `LOST`."""

    inverted: float
    """Share of the targets that are darker than their surroundings."""


def target_contrast(
    fused: Image, source: Image, size: Size = SMALL, *, boxes: Sequence[Corners] | None = None
) -> list[float]:
    """For each target of the source, the share of its contrast that the fused image keeps.

    Args:
        fused: (H, W), grey levels 0 to 255.
        source: the image that shows the targets: infrared, PET, SPECT.
        size: of the targets that are looked for.
        boxes: left, top, right and bottom of labelled targets, to take instead of looking for any;
            the last two are the first pixels outside. What lies beyond the image is cut off.
    """
    found = targets(source, size) if boxes is None else boxed_targets(source, boxes)
    return [target.kept(fused, source) for target in found]


def summarise_targets(kept: Iterable[float]) -> TargetSummary:
    """Statistics over the targets of all images of a set, each target counting alike."""
    shares = np.fromiter(kept, np.float64)
    if not len(shares):
        return TargetSummary(0, np.nan, np.nan, np.nan)
    lost, inverted = float((shares < LOST).mean()), float((shares < 0).mean())
    return TargetSummary(len(shares), float(shares.mean()), lost, inverted)


def targets(source: Image, size: Size = SMALL) -> list[Target]:
    """Hot regions of an image (H, W) on grey levels 0 to 255."""
    source = np.ascontiguousarray(source, np.float32)
    regions, numbers, areas = _hot_regions(source, size)
    least, most = size.least * source.size, size.most * source.size
    found = []
    for number, (box, area) in enumerate(zip(regions, areas, strict=True), 1):
        if least <= area <= most and _clear_of_border(box, source.shape):
            target = _ringed(numbers, number, box, int(max(3, area**0.5 / 1.5)) | 1)
            found.append(target)
    return _clear(found, source)


def _hot_regions(source: Image, size: Size) -> tuple[list[Box], NDArray[np.int32], list[int]]:
    """Bounding boxes, a map of numbers from 1 on, and areas in pixels."""
    sigma = max(source.shape) / size.surroundings
    above = _blurred(source, 1) - _widely_blurred(source, sigma)
    hot = (source > np.percentile(source, _PERCENTILE)) & (above > _ABOVE)
    # OpenCV's opening by an even square moves regions by a pixel down and right. Figures that this
    # metric is compared by were made with it, and other regions have other figures.
    opened = cv2.morphologyEx(hot.astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    _, numbers, rows, _ = cv2.connectedComponentsWithStats(opened, connectivity=8)
    regions = [
        Box(left, top, left + width, top + height) for left, top, width, height, _ in rows[1:]
    ]
    return regions, numbers.astype(np.int32), [int(row[-1]) for row in rows[1:]]


def _widely_blurred(image: Image, sigma: float) -> Image:
    """Gaussian blur, of large images at reduced resolution: the time grows with the pixels only."""
    reduction = int(sigma / 24)
    if reduction <= 1:
        return _blurred(image, sigma)
    height, width = image.shape
    small = (-(-width // reduction), -(-height // reduction))
    reduced = cv2.resize(image, small, interpolation=cv2.INTER_AREA).astype(np.float32)
    blurred = _blurred(reduced, sigma * small[0] / width)
    return cv2.resize(blurred, (width, height)).astype(np.float32)


def _blurred(image: Image, sigma: float) -> Image:
    return cv2.GaussianBlur(image, (0, 0), sigma).astype(np.float32, copy=False)


def _clear_of_border(box: Box, shape: tuple[int, ...]) -> bool:
    height, width = shape
    return min(box.left, box.top) >= 2 and box.right <= width - 2 and box.bottom <= height - 2


def _ringed(numbers: NDArray[np.int32], number: int, box: Box, reach: int) -> Target:
    """A region and what is within `reach` of it, but neither touches it nor is another region."""
    window = box.grown(reach, reach).window
    inside = numbers[window] == number
    ring = _dilated(inside, reach) & ~_dilated(inside, 1) & (numbers[window] == 0)
    return Target(window, inside, ring)


def _dilated(mask: Mask, reach: int) -> Mask:
    square = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    return cv2.dilate(mask.astype(np.uint8), square).astype(bool)


def boxed_targets(source: Image, boxes: Sequence[Corners]) -> list[Target]:
    """The hottest 30 % of each box, against a ring of half its size without the other boxes."""
    labels = [Box(*(max(corner, 0) for corner in corners)) for corners in boxes]
    labelled, hottest = np.zeros((2, *source.shape), bool)
    found = []
    for box in (box for box in labels if source[box.window].size):
        part = source[box.window]
        labelled[box.window] = True
        hottest[...] = False
        hottest[box.window] = part >= np.percentile(part, _HOTTEST)
        window = box.grown(-(-part.shape[0] // 2), -(-part.shape[1] // 2)).window
        found.append((window, hottest[window].copy()))
    every = [Target(window, inside, ~labelled[window]) for window, inside in found]
    return _clear(every, source)


def _clear(found: list[Target], source: Image) -> list[Target]:
    """Those that have surroundings and stand out of them."""
    return [
        target for target in found if target.ring.any() and target.contrast(source) >= _FAINTEST
    ]


def kept_by_target(
    fused: Tensor, first: Tensor, second: Tensor, *, size: Size = SMALL, source: int = 1
) -> list[list[float]]:
    """For each image of a batch (B, 1, H, W) on grey levels, `target_contrast` of its targets.

    Args:
        fused: the fused images.
        first: like fused.
        second: like fused.
        size: of the targets that are looked for.
        source: which image shows the targets: 0, the first; 1, the second.
    """
    shows = (first, second)[source]
    planes = [image.float().cpu()[:, 0].numpy() for image in (fused, shows)]
    return parallel_map(
        lambda pair: target_contrast(pair[0], pair[1], size), zip(*planes, strict=True)
    )


def _per_image(*images: Tensor, share: Literal["kept", "lost"], size: Size, source: int) -> Tensor:
    kept = kept_by_target(*images, size=size, source=source)
    return torch.tensor([getattr(summarise_targets(x), share) for x in kept], dtype=torch.float64)


def _metrics(source: int, size: Size, name: str, of: str) -> tuple[Metric, Metric]:
    """The mean over the targets of an image, and the share of them that is lost."""
    letter = "AB"[source]
    kept = Metric(
        name,
        f"Contrast kept, {of}",
        partial(_per_image, share="kept", size=size, source=source),
        over="both",
        combine=None,
        unit="",
        range=_RANGE,
        better="higher",
        source="cddfuse.metrics.tc",
        note="Undefined without targets. `summarise_targets` is over all targets of a set.",
        latex=r"\frac{1}{T}\sum_{t=1}^{T}k_t,\quad k_t=\frac{\mu_F(R_t)-\mu_F(O_t)}"
        rf"{{\mu_{letter}(R_t)-\mu_{letter}(O_t)}}",
    )
    lost = replace(
        kept,
        name=f"{name}_lost",
        title=f"Share lost, {of}",
        formula=partial(_per_image, share="lost", size=size, source=source),
        range=(0, 1),
        better="lower",
        latex=rf"\frac{{1}}{{T}}\,\left|\left\{{t:k_t<{LOST}\right\}}\right|",
    )
    return kept, lost


TARGET_CONTRASTS = (
    *_metrics(1, SMALL, "TC", "small targets of the second image"),
    *_metrics(1, LARGE, "TC_large", "large targets of the second image"),
    *_metrics(0, SMALL, "TC_first", "small targets of the first image (PET, SPECT)"),
    *_metrics(0, LARGE, "TC_first_large", "large targets of the first image (PET, SPECT)"),
)
