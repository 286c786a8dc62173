"""Average precision of detections: matched by pycocotools, accumulated for any resample of images.

AP@0.5 and AP@[.5:.95] as in COCO: 101 recall levels, up to 100 boxes of a class in an image,
greedy matching from the surest box on. Objects that are ignored, and those below the least area,
neither count nor penalise a box on them. Range: [0, 1]; NaN for a class without objects.

pycocotools decides which box is which object. What it does next, precision over recall, is done
here from counts, so that a bootstrap over images only weighs them; tests compare both.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cddfuse.datasets.labels import Box
from cddfuse.errors import InputError

Values = NDArray[np.float64]

MOST = 100
"""Boxes of a class in an image that count."""

_LEVELS = np.linspace(0, 1, 101)
_CHUNK = 64  # resamples at a time, which bounds memory


class Found(NamedTuple):
    """Detections in all test images."""

    images: NDArray[np.int64]
    """(n,) places of the images."""

    classes: NDArray[np.int64]
    """(n,)"""

    scores: Values
    """(n,)"""

    corners: Values
    """(n, 4) left, top, right, bottom in pixels of the image."""


class Matches(NamedTuple):
    """The detections of one class, the surest first, and whether each is an object."""

    images: NDArray[np.int64]
    """(n,)"""

    hits: NDArray[np.bool_]
    """(10, n) at each threshold of the overlap."""

    misses: NDArray[np.bool_]
    """(10, n) those that are no object; what lies on ignored objects is neither."""

    objects: NDArray[np.int64]
    """(images,) number of objects that count."""


def require_extra() -> None:
    """Check that pycocotools is there."""
    try:
        import pycocotools.cocoeval  # noqa: F401
    except ImportError as error:
        text = "detections are scored by pycocotools: pip install 'cddfuse[downstream]' first."
        raise InputError(text) from error


def match(
    found: Found, boxes: Sequence[Sequence[Box]], classes: int, *, least_area: float = 0
) -> list[Matches]:
    """Match detections with objects, class by class.

    Args:
        found: detections.
        boxes: objects of each image.
        classes: number of classes.
        least_area: objects and boxes of fewer pixels do not count.
    """
    from pycocotools.cocoeval import COCOeval

    judge: Any = COCOeval(None, None, "bbox")
    count = len(boxes)
    judge.params.imgIds, judge.params.catIds = list(range(count)), list(range(classes))
    judge.params.maxDets, judge.params.areaRng = [MOST], [[least_area, np.inf]]
    number = 0
    for image, objects in enumerate(boxes):
        for box in objects:
            number += 1
            judge._gts[image, box.label].append(_record(number, box.corners, box.ignored))
    for number, (image, index, score, corners) in enumerate(zip(*found, strict=True), start=1):
        record = _record(number, corners.tolist(), False)
        judge._dts[int(image), int(index)].append({**record, "score": float(score)})
    return [_matched(judge, index, count) for index in range(classes)]


def _record(number: int, corners: Sequence[float], ignored: bool) -> dict[str, Any]:
    left, top, right, bottom = corners
    across, down = right - left, bottom - top
    flags = {"iscrowd": int(ignored), "ignore": int(ignored)}
    return {"id": number, "bbox": [left, top, across, down], "area": across * down, **flags}


def _matched(judge: Any, index: int, count: int) -> Matches:
    objects = np.zeros(count, np.int64)
    scores, images, hits, misses = [], [], [], []
    for image in range(count):
        judge.ious[image, index] = judge.computeIoU(image, index)
        result = judge.evaluateImg(image, index, judge.params.areaRng[0], MOST)
        if result is None:
            continue
        objects[image] = np.count_nonzero(np.asarray(result["gtIgnore"]) == 0)
        scores += result["dtScores"]
        images += [image] * len(result["dtScores"])
        matched, ignored = result["dtMatches"] > 0, np.asarray(result["dtIgnore"], bool)
        hits.append(matched & ~ignored)
        misses.append(~matched & ~ignored)
    order = np.argsort(-np.array(scores, np.float64), kind="mergesort")
    empty = np.zeros((len(judge.params.iouThrs), 0), bool)
    return Matches(
        np.array(images, np.int64)[order],
        np.concatenate([empty, *hits], 1)[:, order],
        np.concatenate([empty, *misses], 1)[:, order],
        objects,
    )


def average_precision(matches: Matches, weights: Values | None = None) -> tuple[Values, Values]:
    """AP@0.5 and AP@[.5:.95] of one class.

    Args:
        matches: of the class.
        weights: (resamples, images) how often each image is in a resample; None is once each.

    Returns:
        (resamples,) each.
    """
    if weights is None:
        weights = np.ones((1, len(matches.objects)))
    parts = [
        _precisions(matches, weights[i : i + _CHUNK]) for i in range(0, len(weights) or 1, _CHUNK)
    ]
    every = np.concatenate(parts)
    return every[:, 0], every.mean(1)


def _precisions(matches: Matches, weights: Values) -> Values:
    """AP at each threshold: (resamples, thresholds)."""
    objects = weights @ matches.objects
    drawn = weights[:, matches.images]
    out = np.zeros((len(weights), len(matches.hits)))
    for threshold, (hits, misses) in enumerate(zip(matches.hits, matches.misses, strict=True)):
        counted = hits | misses
        true = np.cumsum(drawn[:, counted] * hits[counted], 1)
        false = np.cumsum(drawn[:, counted] * misses[counted], 1)
        if true.shape[1]:
            precision = true / np.maximum(true + false, np.finfo(float).tiny)
            best = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
            for row, total in enumerate(objects):
                recall = true[row] / max(total, 1)
                places = np.searchsorted(recall, _LEVELS, side="left")
                inside = places < recall.size
                out[row, threshold] = best[row][places[inside]].sum() / len(_LEVELS)
    out[objects == 0] = np.nan
    return out


def scores(
    found: Found,
    boxes: Sequence[Sequence[Box]],
    classes: Sequence[str],
    weights: Values | None = None,
    *,
    least_area: float = 0,
) -> Mapping[str, Values]:
    """AP of all classes by name of the measure: (resamples, classes)."""
    made = match(found, boxes, len(classes), least_area=least_area)
    both = [average_precision(matches, weights) for matches in made]
    return {
        name: np.stack([values[place] for values in both], 1)
        for place, name in enumerate(("AP@0.5", "AP@[.5:.95]"))
    }
