"""Sheets of test images: objects and what was found, or class maps, in a row for each input."""

import colorsys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cddfuse.datasets.labels import IGNORED, Box, ClassMap
from cddfuse.downstream.average_precision import Found
from cddfuse.downstream.suite import Results
from cddfuse.downstream.tasks import Detection, Segmentation, Segmented
from cddfuse.io import contact_sheet, read_image
from cddfuse.io.images import quantize
from cddfuse.io.sheet import legend, stacked

_WIDTH = 320  # of an image
_SURE = 0.3  # score of the boxes that are drawn
_OVERLAP = 0.5  # of a box that is right
_TRUTH, _RIGHT, _WRONG, _IGNORED = (
    (255, 255, 255),
    (60, 220, 90),
    (240, 70, 50),
    (110, 110, 110),
)


def sheet(results: Results, count: int) -> Image.Image:
    """The test images with most to see, one a column: labels first, then a row for each input."""
    names = _chosen(results, count)
    labels = list(results.rows)
    classes = results.frames.classes
    if results.plan.task == "detect":
        draw, first = _detections, "labels on vi"
        colours = {
            "labels": _TRUTH,
            "labels that do not count": _IGNORED,
            "right": _RIGHT,
            "wrong": _WRONG,
        }
    else:
        draw, first = _segmentations, "labels"
        hues = zip(classes, palette(len(classes)).tolist(), strict=False)
        colours = {name: (hue[0], hue[1], hue[2]) for name, hue in hues}
    columns = [draw(results, name, labels) for name in names]
    rows = list(zip(*columns, strict=True))
    whole = contact_sheet(rows, headings=names, names=[first, *labels], width=_WIDTH)
    return stacked(whole, legend(list(colours.items()), whole.width))


def _chosen(results: Results, count: int) -> list[str]:
    """Test images of different scenes, those with most objects or classes first."""
    labelled = results.labelled

    def much(name: str) -> int:
        if labelled.kind == "boxes":
            return sum(not box.ignored for box in labelled.boxes[name])
        return len(np.unique(results.frames.labels(name)))

    ordered = sorted(labelled.partition.test, key=lambda name: (-much(name), name))
    seen: set[str] = set()
    chosen = []
    for name in ordered:
        if labelled.scenes[name] not in seen:
            seen.add(labelled.scenes[name])
            chosen.append(name)
    return chosen[:count]


def _picture(results: Results, label: str, name: str) -> Image.Image:
    """The image as the instrument saw it, without its padding."""
    height, width = results.frames.scaled(name)
    place = results.frames.places([name])[0]
    levels = np.array(results.prepared[label].open()[place, :3, :height, :width])
    return _scaled(Image.fromarray(np.ascontiguousarray(levels.transpose(1, 2, 0))))


def _visible(results: Results, name: str) -> Image.Image:
    array = quantize(read_image(results.labelled.pairs[name].first))
    return _scaled(Image.fromarray(array).convert("RGB"))


def _scaled(picture: Image.Image) -> Image.Image:
    """At the width of a column, so that lines are one pixel wide."""
    height = round(picture.height * _WIDTH / picture.width)
    return picture.resize((_WIDTH, height), Image.Resampling.BICUBIC)


def _detections(results: Results, name: str, labels: Sequence[str]) -> list[Image.Image]:
    boxes = results.labelled.boxes[name]
    width = results.labelled.sizes[name][1]
    place = results.labelled.partition.test.index(name)
    truth = _visible(results, name)
    scale = truth.width / width
    painter = ImageDraw.Draw(truth)
    least = results.frames.least_area
    for box in boxes:
        counted = not box.ignored and box.area >= least
        letter = results.frames.classes[box.label][:1]
        _frame(painter, box.corners, scale, _TRUTH if counted else _IGNORED, letter)
    columns = [truth]
    for label in labels:
        picture = _picture(results, label, name)
        painter = ImageDraw.Draw(picture)
        found: Found = Detection(results.frames).load(results.predictions[label][0])
        mine = np.flatnonzero((found.images == place) & (found.scores >= _SURE))
        for index in mine[np.argsort(found.scores[mine])]:
            number, corners = int(found.classes[index]), found.corners[index]
            right = any(box.label == number and overlap(box, corners) >= _OVERLAP for box in boxes)
            colour = _RIGHT if right else _WRONG
            _frame(painter, corners, scale, colour, results.frames.classes[number][:1])
        columns.append(picture)
    return columns


def overlap(box: Box, corners: Sequence[float] | NDArray[np.float64]) -> float:
    """Intersection over union of a labelled box and another."""
    left, top, right, bottom = box.corners
    across = min(right, corners[2]) - max(left, corners[0])
    down = min(bottom, corners[3]) - max(top, corners[1])
    both = max(0.0, float(across)) * max(0.0, float(down))
    other = float((corners[2] - corners[0]) * (corners[3] - corners[1]))
    return both / (box.area + other - both)


def _frame(
    painter: ImageDraw.ImageDraw,
    corners: Sequence[float] | NDArray[np.float64],
    scale: float,
    colour: tuple[int, int, int],
    letter: str,
) -> None:
    left, top, right, bottom = (float(corner) * scale for corner in corners)
    painter.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour)
    painter.text((left + 1, top - 10 if top > 10 else bottom), letter, fill=colour)


def _segmentations(results: Results, name: str, labels: Sequence[str]) -> list[Image.Image]:
    """The class maps over the images, dimmed."""
    place = results.labelled.partition.test.index(name)
    truth = coloured(results.frames.labels(name), len(results.frames.classes))
    columns = [Image.blend(_visible(results, name).resize(truth.size), truth, 0.65)]
    for label in labels:
        found: Segmented = Segmentation(results.frames).load(results.predictions[label][0])
        shown = coloured(found.maps[place], len(results.frames.classes))
        columns.append(Image.blend(_picture(results, label, name).resize(shown.size), shown, 0.65))
    return columns


def coloured(values: ClassMap, classes: int) -> Image.Image:
    """A class map in colours, ignored pixels in black."""
    return Image.fromarray(palette(classes)[values])


def palette(classes: int) -> NDArray[np.uint8]:
    """The colour of every value of a class map: (256, 3); of those that are no class, black."""
    colours = np.zeros((IGNORED + 1, 3), np.uint8)
    for index in range(classes):
        hue, light = index / classes, 0.95 if index % 2 else 0.65
        colours[index] = [round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.75, light)]
    return colours
