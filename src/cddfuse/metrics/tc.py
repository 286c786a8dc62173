"""Target contrast (TC): how much of a target's contrast in one source the fused image keeps.

Targets are what is hot in the infrared image, or active in PET and SPECT: regions well above their
surroundings. Contrast is the mean of a region less that of a ring around it.

Range: [-1, 1.5] for each target; 1 is the source's own contrast, below 0 a target is inverted.
Higher is better. NaN where the source has no target.
Source: no paper; the definition is this module.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

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
    """A labelled target, in pixels; right and bottom are the first ones outside."""

    left: int
    top: int
    right: int
    bottom: int


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
    fused: Image, source: Image, size: Size = SMALL, *, boxes: Sequence[Box] | None = None
) -> list[float]:
    """For each target of the source, the share of its contrast that the fused image keeps.

    Args:
        fused: (H, W), grey levels 0 to 255.
        source: the image that shows the targets: infrared, PET, SPECT.
        size: of the targets that are looked for.
        boxes: labelled targets, to take instead of looking for any.
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
    above = cv2.GaussianBlur(source, (0, 0), 1) - cv2.GaussianBlur(source, (0, 0), sigma)
    hot = (source > np.percentile(source, _PERCENTILE)) & (above > _ABOVE)
    opened = cv2.morphologyEx(hot.astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    _, numbers, rows, _ = cv2.connectedComponentsWithStats(opened, connectivity=8)
    regions = [
        Box(left, top, left + width, top + height) for left, top, width, height, _ in rows[1:]
    ]
    return regions, numbers.astype(np.int32), [int(row[-1]) for row in rows[1:]]


def _clear_of_border(box: Box, shape: tuple[int, ...]) -> bool:
    height, width = shape
    return min(box.left, box.top) >= 2 and box.right <= width - 2 and box.bottom <= height - 2


def _ringed(numbers: NDArray[np.int32], number: int, box: Box, reach: int) -> Target:
    """A region and what is within `reach` of it, but neither touches it nor is another region."""
    top, left = max(box.top - reach, 0), max(box.left - reach, 0)
    window = (slice(top, box.bottom + reach), slice(left, box.right + reach))
    inside = numbers[window] == number
    ring = _dilated(inside, reach) & ~_dilated(inside, 1) & (numbers[window] == 0)
    return Target(window, inside, ring)


def _dilated(mask: Mask, reach: int) -> Mask:
    square = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    return cv2.dilate(mask.astype(np.uint8), square).astype(bool)


def boxed_targets(source: Image, boxes: Sequence[Box]) -> list[Target]:
    """The hottest 30 % of each box, against a ring of half its size without the other boxes."""
    labelled = np.zeros(source.shape, bool)
    for box in boxes:
        labelled[box.top : box.bottom, box.left : box.right] = True
    found = []
    for box in boxes:
        part = source[box.top : box.bottom, box.left : box.right]
        if part.size == 0:
            continue
        down, across = -(-part.shape[0] // 2), -(-part.shape[1] // 2)
        top, left = max(box.top - down, 0), max(box.left - across, 0)
        window = (slice(top, box.bottom + down), slice(left, box.right + across))
        inside = np.zeros_like(labelled[window])
        within = (
            slice(box.top - top, box.bottom - top),
            slice(box.left - left, box.right - left),
        )
        inside[within] = part >= np.percentile(part, _HOTTEST)
        found.append(Target(window, inside, ~labelled[window]))
    return _clear(found, source)


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
    return parallel_map(lambda pair: target_contrast(*pair, size), zip(*planes, strict=True))


def _mean(kept: list[float]) -> float:
    return summarise_targets(kept).kept


def _lost(kept: list[float]) -> float:
    return summarise_targets(kept).lost


def _per_image(
    *images: Tensor, of: Callable[[list[float]], float], size: Size, source: int
) -> Tensor:
    kept = kept_by_target(*images, size=size, source=source)
    return torch.tensor([of(shares) for shares in kept], dtype=torch.float64)


def _metric(name: str, title: str, size: Size, source: int, *, lost: bool) -> Metric:
    return Metric(
        name,
        title,
        partial(_per_image, of=_lost if lost else _mean, size=size, source=source),
        over="both",
        combine=None,
        unit="",
        range=(0, 1) if lost else _RANGE,
        better="lower" if lost else "higher",
        source="cddfuse.metrics.tc",
        note="Undefined without targets. Sets are compared by means over targets, not images.",
    )


TC = _metric("TC", "Contrast kept, small targets of the second image", SMALL, 1, lost=False)
TC_LOST = _metric("TC_lost", "Share lost, small targets of the second image", SMALL, 1, lost=True)
TC_LARGE = _metric("TC_large", "Contrast kept, large targets of the second", LARGE, 1, lost=False)
TC_LARGE_LOST = _metric(
    "TC_large_lost", "Share lost, large targets of the second image", LARGE, 1, lost=True
)
TC_FIRST = _metric(
    "TC_first", "Contrast kept, small targets of the first image", SMALL, 0, lost=False
)
TC_FIRST_LOST = _metric(
    "TC_first_lost", "Share lost, small targets of the first image", SMALL, 0, lost=True
)
TC_FIRST_LARGE = _metric(
    "TC_first_large", "Contrast kept, large targets of the first image", LARGE, 0, lost=False
)
TC_FIRST_LARGE_LOST = _metric(
    "TC_first_large_lost", "Share lost, large targets of the first image", LARGE, 0, lost=True
)
