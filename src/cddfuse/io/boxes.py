"""Labelled boxes of an image: YOLO text (.txt) and the XML of Pascal VOC."""

import math
from collections.abc import Collection
from pathlib import Path
from xml.etree import ElementTree

from cddfuse.errors import InputError

Corners = tuple[int, int, int, int]


def read_boxes(
    path: Path, height: int, width: int, *, classes: Collection[str] | None = None
) -> list[Corners]:
    """Left, top, right and bottom of the boxes, the last two being the first pixels outside.

    Args:
        path: a file of labels. YOLO: class, centre, width and height in shares of the image. VOC:
            corners in pixels of the image as labelled, counted from 1.
        height: of the image that the boxes are for.
        width: likewise.
        classes: names (VOC) or numbers (YOLO) of the classes to take; by default all.

    Raises:
        InputError: the file cannot be read, or is neither.
    """
    try:
        text = path.read_text(encoding="utf-8")
        shares = _voc(text) if path.suffix.lower() == ".xml" else _yolo(text)
    except (OSError, ValueError, RecursionError, ElementTree.ParseError) as error:
        raise InputError(
            f"{path} cannot be read as boxes ({error}): give YOLO text (class, x, y, width, "
            "height in shares of the image) or the XML of Pascal VOC."
        ) from error
    return [
        (round(left * width), round(top * height), round(right * width), round(bottom * height))
        for name, (left, top, right, bottom) in shares
        if classes is None or name in classes
    ]


_Shares = list[tuple[str, tuple[float, float, float, float]]]


def _yolo(text: str) -> _Shares:
    boxes: _Shares = []
    for line in filter(None, map(str.split, text.splitlines())):
        if len(line) < 5:
            raise ValueError(f"{len(line)} words in a line of five")
        x, y, width, height = map(float, line[1:5])
        corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        boxes.append((line[0], _inside(*corners)))
    return boxes


def _voc(text: str) -> _Shares:
    root = ElementTree.fromstring(text)
    height, width = _number(root, "size/height"), _number(root, "size/width")
    if min(height, width) <= 0:
        raise ValueError("the image has no size")
    boxes: _Shares = []
    for label in root.iter("object"):
        left, top, right, bottom = (
            _number(label, f"bndbox/{corner}") for corner in ("xmin", "ymin", "xmax", "ymax")
        )
        corners = ((left - 1) / width, (top - 1) / height, right / width, bottom / height)
        boxes.append((label.findtext("name", ""), _inside(*corners)))
    return boxes


def _inside(
    left: float, top: float, right: float, bottom: float
) -> tuple[float, float, float, float]:
    """Corners within the image."""
    shares = [left, top, right, bottom]
    if not all(map(math.isfinite, shares)):
        raise ValueError("a corner is no number")
    one, two, three, four = (min(max(share, 0.0), 1.0) for share in shares)
    return one, two, three, four


def _number(element: ElementTree.Element, place: str) -> float:
    found = element.findtext(place)
    if found is None:
        raise ValueError(f"no {place}")
    return float(found)
