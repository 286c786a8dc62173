"""How near a network's image is to a polynomial of both values of a pixel, one for each image.

`python -m benchmarks.tone VISIBLE INFRARED [--model cddfuse] [--task mif] [--limit N]` fuses the
pairs of two folders, fits polynomials by least squares, and prints their PSNR to the image, mean
and lowest over the pairs. `cddfuse_small` is built on that.
"""

import argparse
from pathlib import Path

import numpy as np

from cddfuse import colour, fuse, runtime
from cddfuse.io import pair_folders, read_pair
from cddfuse.models.load import load_network
from cddfuse.pair import ImagePair

DEGREES = (1, 2, 3, 4)


def decibels(first: np.ndarray, second: np.ndarray, fused: np.ndarray, degree: int) -> float:
    """PSNR of the best polynomial."""
    powers = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
    columns = np.stack([first**i * second**j for i, j in powers], 1)
    found = np.linalg.lstsq(columns, fused, rcond=None)[0]
    error = np.mean((columns @ found - fused) ** 2)
    return float(-10 * np.log10(max(error, 1e-12)))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--model", default="cddfuse")
    parser.add_argument("--task", choices=("ivf", "mif"), default="ivf")
    parser.add_argument("--limit", type=int)
    arguments = parser.parse_args()
    runtime.prepare_process()
    network = load_network(arguments.model, arguments.task)
    pairs = pair_folders(arguments.first, arguments.second)[0][: arguments.limit]
    values = []
    for each in pairs:
        pair = read_pair(each.first, each.second)
        grey = ImagePair(colour.split(pair.first)[0], colour.split(pair.second)[0])
        images = (grey.first, grey.second, fuse(network, grey))
        first, second, fused = (image.double().numpy().ravel() for image in images)
        values.append([decibels(first, second, fused, degree) for degree in DEGREES])
        print(each.name, *(f"{value:.1f}" for value in values[-1]), flush=True)
    for degree, column in zip(DEGREES, np.transpose(values), strict=True):
        print(f"degree {degree}: {column.mean():.1f} dB, lowest {column.min():.1f}")


if __name__ == "__main__":
    main()
