"""Labels of images: boxes (YOLO text, Pascal VOC, COCO) and class maps (label PNGs), read strictly.

Unlike `cddfuse.io.boxes`, which takes what it can use, everything that would make a score wrong is
an error here: unknown or shifted classes, boxes that are empty or outside, labels of another size.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple
from xml.etree import ElementTree

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cddfuse.errors import InputError

IGNORED = 255
"""Pixels of a class map that count neither in training nor in scores."""

_ROUNDING = 2.0  # pixels that a box may lie outside of its image, and is clipped

Size = tuple[int, int]
"""Height and width."""

ClassMap = NDArray[np.uint8]
"""(H, W), indices into the names of the classes that are kept, and IGNORED."""


class Box(NamedTuple):
    """One labelled object."""

    label: int
    """Index of its class among those that are kept."""

    corners: tuple[float, float, float, float]
    """Left, top, right and bottom in pixels; the last two are where it ends."""

    ignored: bool = False
    """Neither counted nor penalised, as `difficult` objects and crowds are."""

    @property
    def area(self) -> float:
        """In pixels."""
        left, top, right, bottom = self.corners
        return (right - left) * (bottom - top)


@dataclass(frozen=True)
class Classes:
    """The classes of a set of labels, and what becomes of them."""

    names: tuple[str, ...]
    """As labelled, in the order of their numbers."""

    renamed: Mapping[str, str] | None = None
    """Other names; two classes with one name are merged, and those with the name "" are left
    out."""

    first: int = 0
    """Number of the first class."""

    ignored: tuple[int, ...] = ()
    """Values of class maps, beside 255, of pixels that do not count."""

    def __post_init__(self) -> None:
        if len(set(map(str.casefold, self.names))) != len(self.names) or "" in self.names:
            raise InputError("two classes have one name, or none: name each.", "classes")
        unknown = [name for name in self.renamed or () if self._place(name) is None]
        if unknown:
            raise InputError(
                f"there is no class {unknown[0]} to rename: known are {', '.join(self.names)}.",
                setting="map",
            )
        if not self.kept:
            raise InputError("all classes are left out: keep one.", "map")

    @cached_property
    def kept(self) -> tuple[str, ...]:
        """Names of the classes that are learned and scored, each once."""
        return tuple(dict.fromkeys(filter(None, map(self._renamed, self.names))))

    def of_name(self, name: str, where: Path) -> int | None:
        """Index among those that are kept; None if the class is left out."""
        place = self._place(name)
        if place is None:
            raise InputError(
                f"{where} has the class {name}, but known are {', '.join(self.names)}: name it "
                "among the classes, or map it.",
                setting=("classes", "map"),
            )
        return self._index(place)

    def of_number(self, number: int, where: Path) -> int | None:
        """Index among those that are kept; None if the class is left out."""
        place = number - self.first
        if not 0 <= place < len(self.names):
            last = self.first + len(self.names) - 1
            shifted = number == last + 1 or number == self.first - 1
            cure = "say which number the first class has" if shifted else "name all classes"
            raise InputError(
                f"{where} has the class number {number}, but {len(self.names)} classes are numbered"
                f" from {self.first} to {last}: {cure}.",
                setting="first_class" if shifted else "classes",
            )
        return self._index(place)

    def _place(self, name: str) -> int | None:
        folded = [known.casefold() for known in self.names]
        return folded.index(name.casefold()) if name.casefold() in folded else None

    def _renamed(self, name: str) -> str:
        given = {known.casefold(): other for known, other in (self.renamed or {}).items()}
        return given.get(name.casefold(), name)

    def _index(self, place: int) -> int | None:
        name = self._renamed(self.names[place])
        return self.kept.index(name) if name else None


def read_yolo(path: Path, size: Size, classes: Classes) -> list[Box]:
    """Boxes of a file of YOLO text: class, centre, width and height in shares of the image.

    An empty file is an image without objects.
    """
    height, width = size
    boxes = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not (words := line.split()):
            continue
        where = f"line {number} of {path}"
        try:
            if len(words) != 5:
                raise ValueError
            index, x, y, across, down = int(words[0]), *map(float, words[1:])
        except ValueError:
            text = f"{where} is no box: write class, x, y, width and height, in shares of 1."
            raise InputError(text) from None
        if max(abs(x), abs(y), across, down) > 2:
            raise InputError(f"{where} counts in pixels: YOLO text counts in shares of the image.")
        corners = (
            (x - across / 2) * width,
            (y - down / 2) * height,
            (x + across / 2) * width,
            (y + down / 2) * height,
        )
        kept = classes.of_number(index, path)
        corners = _checked(corners, size, where)
        if kept is not None:
            boxes.append(Box(kept, corners))
    return boxes


def read_voc(path: Path, size: Size, classes: Classes, *, origin: Literal[0, 1] = 1) -> list[Box]:
    """Boxes of a file of Pascal VOC: corners in pixels, the last ones inside.

    Args:
        path: the XML file.
        size: of the image.
        classes: of the labels.
        origin: number of the first pixel; 1 in VOC, 0 in files of some tools.
    """
    try:
        root = ElementTree.fromstring(read_text(path))
        labelled = int(_field(root, "size/height")), int(_field(root, "size/width"))
        _require_size(path, labelled, size)
        return [
            box
            for element in root.iter("object")
            if (box := _voc_box(element, path, size, classes, origin)) is not None
        ]
    except (ElementTree.ParseError, KeyError, OverflowError) as error:
        raise InputError(f"{path} is no file of Pascal VOC ({error}).") from error
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{path} has a number that is none ({error}).") from error


def _voc_box(
    element: ElementTree.Element, path: Path, size: Size, classes: Classes, origin: int
) -> Box | None:
    left, top, right, bottom = (
        float(_field(element, f"bndbox/{name}")) for name in ("xmin", "ymin", "xmax", "ymax")
    )
    if origin == 1 and min(left, top) < 1:
        raise InputError(
            f"{path} has a box that begins at pixel 0, so its pixels are not counted from 1 as in "
            "Pascal VOC: say that they are counted from 0.",
            setting="voc_origin",
        )
    corners = (left - origin, top - origin, right - origin + 1, bottom - origin + 1)
    corners = _checked(corners, size, str(path), empty=right < left or bottom < top)
    index = classes.of_name(_field(element, "name"), path)
    if index is None:
        return None
    return Box(index, corners, element.findtext("difficult", "").strip().lower() in ("1", "true"))


def _field(element: ElementTree.Element, place: str) -> str:
    found = element.findtext(place)
    if not found or not found.strip():
        raise KeyError(f"no {place}")
    return found.strip()


def read_coco(
    path: Path, classes: Classes, size_of: Callable[[str], Size | None]
) -> dict[str, list[Box]]:
    """Boxes of all images of a COCO file, by the stem of the image; those without objects too.

    Args:
        path: the JSON file.
        classes: the names of its categories are looked up here; their numbers do not matter.
        size_of: the size of an image by its stem; None if it is not asked for.
    """
    content = _json(path)
    try:
        names = {n: str(row["name"]) for n, row in _by_number(content, "categories").items()}
        images = _by_number(content, "images")
        stems = {number: Path(row["file_name"]).stem for number, row in images.items()}
        sizes = {number: size_of(stem) for number, stem in stems.items()}
        found: dict[str, list[Box]] = {stems[n]: [] for n, size in sizes.items() if size}
        if len(set(stems.values())) != len(stems):
            raise InputError(f"{path} has two images of one name: name each.")
        for number, size in sizes.items():
            if size:
                row = images[number]
                _require_size(path, (int(row["height"]), int(row["width"])), size, stems[number])
        for row in content["annotations"]:
            size = sizes[row["image_id"]]
            if size is None:
                continue
            stem = stems[row["image_id"]]
            left, top, across, down = map(float, row["bbox"])
            corners = _checked(
                (left, top, left + across, top + down), size, f"{path}, image {stem},"
            )
            index = classes.of_name(names[row["category_id"]], path)
            if index is not None:
                found[stem].append(Box(index, corners, bool(int(row.get("iscrowd", 0)))))
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise InputError(f"{path} is no file of COCO ({error!r}).") from error
    return found


def _by_number(content: Any, kind: str) -> dict[Any, Any]:
    found = {row["id"]: row for row in content[kind]}
    if len(found) != len(content[kind]):
        raise ValueError(f"two {kind} of one id")
    return found


def coco_names(path: Path) -> tuple[str, ...]:
    """Names of the categories of a COCO file, in the order of their numbers."""
    try:
        rows = sorted(_json(path)["categories"], key=lambda row: row["id"])
        return tuple(str(row["name"]) for row in rows)
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} is no file of COCO ({error!r}).") from error


def read_class_map(path: Path, size: Size, classes: Classes) -> ClassMap:
    """The classes of the pixels of an image, from a PNG of class numbers, grey or with a palette.

    Numbers may have 8 or 16 bits; 255 is ignored.
    """
    values = _label_values(path)
    _require_size(path, (values.shape[0], values.shape[1]), size)
    out = np.full(values.shape, IGNORED, np.uint8)
    for value in np.unique(values).tolist():
        if value == IGNORED or value in classes.ignored:
            continue
        index = classes.of_number(value, path)
        if index is not None:
            out[values == value] = index
    return out


def _label_values(path: Path) -> NDArray[np.int64]:
    try:
        with Image.open(path) as picture:
            if picture.mode in ("P", "L", "1"):
                return np.asarray(picture, np.int64)
        values = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a label image ({error}).") from error
    if values is None or values.dtype.kind != "u":
        raise InputError(f"{path} cannot be read as a label image: give a PNG of class numbers.")
    if values.ndim == 3:
        if (values[..., :1] != values[..., 1:3]).any():
            raise InputError(
                f"{path} shows classes as colours: give the image of class numbers that it was "
                "made from."
            )
        values = values[..., 0]
    return values.astype(np.int64)


def write_yolo(path: Path, boxes: Sequence[Box], size: Size) -> None:
    """Write boxes as YOLO text; an image without any has an empty file."""
    height, width = size
    lines = []
    for index, (left, top, right, bottom), _ in boxes:
        shares = (
            (left + right) / 2 / width,
            (top + bottom) / 2 / height,
            (right - left) / width,
            (bottom - top) / height,
        )
        lines.append(" ".join([str(index), *(f"{share:.8f}" for share in shares)]) + "\n")
    path.write_text("".join(lines), encoding="utf-8")


def _checked(
    corners: tuple[float, float, float, float], size: Size, where: str, *, empty: bool = False
) -> tuple[float, float, float, float]:
    """The corners within the image."""
    left, top, right, bottom = corners
    height, width = size
    if not np.isfinite(corners).all() or empty or left >= right or top >= bottom:
        raise InputError(f"{where} has a box without area: correct or remove it.")
    out = max(-left, -top, right - width, bottom - height)
    if out > max(_ROUNDING, 0.01 * max(size)):
        raise InputError(
            f"{where} has a box that ends {out:.0f} pixels outside of the image of {width}x{height}"
            ": correct or remove it."
        )
    inside = (max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height)))
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        raise InputError(f"{where} has a box outside of the image: correct or remove it.")
    return inside


def _require_size(path: Path, labelled: Size, size: Size, image: str = "") -> None:
    if labelled != size:
        of = f" of {image}" if image else ""
        raise InputError(
            f"{path} labels an image{of} of {labelled[1]}x{labelled[0]}, but the image is "
            f"{size[1]}x{size[0]}: give the labels of these images."
        )


def read_text(path: Path) -> str:
    """A text of UTF-8, with the mark that some programs put before it or without."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text ({error}).") from error


def _json(path: Path) -> Any:
    try:
        return json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{path} is no JSON ({error}).") from error
