"""Target contrast of fused images over the targets of a set, and pixels brighter than both sources.

`python -m benchmarks.targets FUSED FIRST SECOND [--show first] [--half] [--boxes FOLDER --class 0]`
with folders of grey or colour images whose files have the same stems.
"""

import argparse
from collections.abc import Callable, Collection
from pathlib import Path

import cv2
import numpy as np

from cddfuse.io.boxes import read_boxes
from cddfuse.metrics.tc import LARGE, SMALL, Target, boxed_targets, summarise_targets, targets

_BRIGHTER = 10  # grey levels above both sources

Image = np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fused", type=Path, help="a folder; or mean or max, of the sources")
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--show", choices=("first", "second"), default="second")
    parser.add_argument("--half", action="store_true", help="draw images to half size first")
    parser.add_argument("--boxes", type=Path, help="a folder of YOLO text or VOC XML")
    parser.add_argument("--class", dest="classes", nargs="+", help="of the boxes, by default all")
    arguments = parser.parse_args()
    finders: dict[str, Callable[[Image, str], list[Target]]] = {
        "small": lambda image, _: targets(image, SMALL),
        "large": lambda image, _: targets(image, LARGE),
    }
    if arguments.boxes:
        finders = {
            "boxes": lambda image, stem: _boxed(image, arguments.boxes, stem, arguments.classes)
        }
    kept: dict[str, list[float]] = {name: [] for name in finders}
    brighter = []
    for path in sorted(arguments.first.iterdir()):
        first = _grey(arguments.first, path.stem)
        second = _grey(arguments.second, path.stem)
        fused = _fused(arguments.fused, path.stem, first, second)
        images = [_half(image) if arguments.half else image for image in (fused, first, second)]
        fused, first, second = (image.astype(np.float32) for image in images)
        source = first if arguments.show == "first" else second
        brighter.append((fused > np.maximum(first, second) + _BRIGHTER).mean())
        for name, find in finders.items():
            kept[name] += [target.kept(fused, source) for target in find(source, path.stem)]
    for name, shares in kept.items():
        of = summarise_targets(shares)
        print(
            f"{name} ({of.targets}): kept {of.kept:.3f}, lost {of.lost:.1%}, "
            f"inverted {of.inverted:.1%}"
        )
    print(f"more than {_BRIGHTER} levels brighter than both sources: {np.mean(brighter):.1%}")


def _boxed(image: Image, folder: Path, stem: str, classes: Collection[str] | None) -> list[Target]:
    """Those of an image; none if it has no file of labels."""
    found = [*folder.glob(f"{stem}.txt"), *folder.glob(f"{stem}.xml")]
    if not found:
        return []
    height, width = image.shape
    return boxed_targets(image, read_boxes(found[0], height, width, classes=classes))


def _fused(folder: Path, stem: str, first: Image, second: Image) -> Image:
    if folder.is_dir():
        return _grey(folder, stem)
    trivial = {
        "mean": ((first.astype(int) + second + 1) // 2).astype(np.uint8),
        "max": np.maximum(first, second),
    }
    return trivial[folder.name]


def _grey(folder: Path, stem: str) -> Image:
    path = next(folder.glob(f"{stem}.*"))
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert image is not None, path
    return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)


def _half(image: Image) -> Image:
    height, width = image.shape
    return cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)


if __name__ == "__main__":
    main()
