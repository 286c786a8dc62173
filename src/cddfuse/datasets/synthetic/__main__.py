"""Write synthetic pairs as PNG files: `python -m cddfuse.datasets.synthetic FOLDER --seed 47`."""

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from cddfuse.datasets.synthetic.night import night_street

EXAMPLE_SEED = 47
"""Seed of the street in `examples/`."""


def main() -> None:
    """Write `night_visible.png` and `night_infrared.png`."""
    parser = argparse.ArgumentParser(
        prog="python -m cddfuse.datasets.synthetic", description=__doc__
    )
    parser.add_argument("folder", type=Path, help="where the two files go")
    parser.add_argument("--seed", type=int, default=EXAMPLE_SEED, help="which street")
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=640)
    arguments = parser.parse_args()
    pair = night_street(arguments.seed, (arguments.height, arguments.width)).pair
    arguments.folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(_levels(pair.first.permute(1, 2, 0))).save(
        arguments.folder / "night_visible.png"
    )
    Image.fromarray(_levels(pair.second[0])).save(arguments.folder / "night_infrared.png")


def _levels(image: Tensor) -> npt.NDArray[np.uint8]:
    return np.rint(image.numpy() * 255).astype(np.uint8)


if __name__ == "__main__":
    main()
