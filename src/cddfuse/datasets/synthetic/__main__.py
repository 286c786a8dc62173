"""Write synthetic pairs as PNG files: `python -m cddfuse.datasets.synthetic FOLDER --seed 47`."""

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from cddfuse.datasets.labels import Box, write_yolo
from cddfuse.datasets.synthetic.night import night_street
from cddfuse.datasets.synthetic.scene import CLASSES, LABELS, Scene

EXAMPLE_SEED = 47
"""Seed of the street in `examples/`."""


def main() -> None:
    """Write `night_visible.png` and `night_infrared.png`, or several pairs in two folders."""
    parser = argparse.ArgumentParser(
        prog="python -m cddfuse.datasets.synthetic", description=__doc__
    )
    parser.add_argument("folder", type=Path, help="where the two files go")
    parser.add_argument("--seed", type=int, default=EXAMPLE_SEED, help="which street")
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--pairs", type=int, help="write so many, as vi/NAME.png and ir/NAME.png")
    parser.add_argument(
        "--labels", action="store_true", help="with --pairs: write boxes and class maps too"
    )
    arguments = parser.parse_args()
    size = (arguments.height, arguments.width)
    if arguments.pairs:
        write_folders(
            arguments.folder,
            range(arguments.seed, arguments.seed + arguments.pairs),
            size,
            labels=arguments.labels,
        )
        return
    pair = night_street(arguments.seed, size).pair
    arguments.folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(_levels(pair.first.permute(1, 2, 0))).save(
        arguments.folder / "night_visible.png"
    )
    Image.fromarray(_levels(pair.second[0])).save(arguments.folder / "night_infrared.png")


def write_folders(
    folder: Path, seeds: Iterable[int], size: tuple[int, int], *, labels: bool = False
) -> None:
    """Write a pair for each seed, as vi/NAME.png and ir/NAME.png.

    Args:
        folder: where they go.
        seeds: of the streets, which are their names.
        size: height and width.
        labels: write boxes (YOLO text) and class maps too, and the names of the classes.
    """
    for side in ("vi", "ir", *(("labels", "maps") if labels else ())):
        (folder / side).mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        scene = night_street(seed, size)
        name = f"{seed:04}.png"
        Image.fromarray(_levels(scene.pair.first.permute(1, 2, 0))).save(folder / "vi" / name)
        Image.fromarray(_levels(scene.pair.second[0])).save(folder / "ir" / name)
        if labels:
            _write_labels(folder, scene, name, size)
    if labels:
        (folder / "box_classes.txt").write_text("\n".join(LABELS) + "\n", encoding="utf-8")
        (folder / "map_classes.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")


def _write_labels(folder: Path, scene: Scene, name: str, size: tuple[int, int]) -> None:
    """Boxes as YOLO text and the class map as PNG."""
    boxes = [
        Box(LABELS.index(each.label), tuple(map(float, each.box)))  # type: ignore[arg-type]
        for each in scene.objects
    ]
    write_yolo((folder / "labels" / name).with_suffix(".txt"), boxes, size)
    Image.fromarray(scene.classes.numpy().astype(np.uint8)).save(folder / "maps" / name)


def _levels(image: Tensor) -> npt.NDArray[np.uint8]:
    return np.rint(image.numpy() * 255).astype(np.uint8)


if __name__ == "__main__":
    main()
