"""Errors and confidence of `align`, and the check of `fuse`: `python -m benchmarks.registration`.

`warped`: the infrared images of 5 pairs of TNO and 5 of RoadScene, warped by known similarities T
(shift up to 20 pixels, 5 degrees, scale 0.9 to 1.1). The pairs themselves are not registered to the
pixel, so errors are also given against T after T0, what the method makes of the pair as published.
`same`: the infrared image against itself, warped. `strangers`: visible and infrared images of
different scenes, which nothing can align: how confident the results are. `check`: how many pairs
look misaligned as they are, and shifted.
"""

import argparse
import math
import random
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from cddfuse.io import pair_folders, read_pair
from cddfuse.pair import ImagePair
from cddfuse.registration import Alignment, align, geometry, offset
from cddfuse.registration.geometry import Size

_LIMITS = (1, 2, 3, 5)  # pixels
_SHIFTS = (0, 2, 4, 8)
_MARGIN = 10  # cut off before images are shifted against each other


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("warped", "same", "strangers", "check"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--trials", type=int, default=3, help="warps of each pair")
    parser.add_argument("--kind", choices=("similarity", "affine", "homography"))
    parser.add_argument(
        "--set", default="roadscene/test", help="of strangers, or of pairs to check"
    )
    parser.add_argument("--names", nargs=2, default=("vi", "ir"), help="its folders")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.what == "check":
        _check(arguments.data / arguments.set, arguments.names)
    elif arguments.what == "strangers":
        _strangers(arguments.data / arguments.set, arguments.names, 10 * arguments.trials)
    else:
        _warped(_ten(arguments.data), arguments.trials, arguments.what == "same", arguments.kind)


def _warped(pairs: Sequence[ImagePair], trials: int, same: bool, kind: str | None) -> None:
    raw, relative, trusted, seconds = [], [], [], []
    for place, published in enumerate(pairs):
        pair = published._replace(first=published.second) if same else published
        size: Size = (pair.second.shape[-2], pair.second.shape[-1])
        own = align(pair).transform.tensor
        for trial in range(trials):
            truth = _similarity(1000 + 100 * place + trial, size)
            moving = pair._replace(second=_warp(pair.second, truth))
            start = time.process_time()
            found: Alignment = align(moving, kind or "similarity")  # type: ignore[arg-type]
            seconds.append(time.process_time() - start)
            matrix = found.transform.tensor
            raw.append(float(geometry.distance(matrix, truth, size)))
            relative.append(float(geometry.distance(matrix, truth @ own, size)))
            trusted.append(not found.doubt)
            print(
                f"{pair.name} {trial}: {raw[-1]:.2f} px, {relative[-1]:.2f} against T T0, "
                f"confidence {found.transform.confidence:.3f} {found.doubt}",
                flush=True,
            )
    accepted = [error for error, good in zip(relative, trusted, strict=True) if good]
    print(f"against T: {_shares(raw)}\nagainst T T0: {_shares(relative)}")
    print(f"against T T0, {len(accepted)} of {len(trusted)} that are trusted: {_shares(accepted)}")
    print(f"{np.mean(seconds):.2f} CPU s each")


def _shares(errors: Sequence[float]) -> str:
    shares = ", ".join(f"{np.mean(np.array(errors) < limit):.0%} < {limit} px" for limit in _LIMITS)
    return f"{shares}, median {np.median(errors):.2f}, largest {max(errors):.2f}"


def _strangers(folder: Path, names: Sequence[str], count: int) -> None:
    files = pair_folders(folder / names[0], folder / names[1])[0]
    draw = random.Random(1)
    found = []
    for _ in range(count):
        one, other = draw.sample(files, 2)
        pair = ImagePair(
            read_pair(one.first, one.first)[0], read_pair(other.second, other.second)[1]
        )
        alignment = align(pair)
        found.append((alignment.transform.confidence or 0, not alignment.doubt))
        print(
            f"{one.name} and {other.name}: confidence {found[-1][0]:.3f} {alignment.doubt}",
            flush=True,
        )
    trusted = sum(good for _, good in found)
    print(f"{trusted} of {count} strangers are trusted, largest confidence {max(found)[0]:.3f}")


def _check(folder: Path, names: Sequence[str]) -> None:
    counts = dict.fromkeys(_SHIFTS, 0)
    files = pair_folders(folder / names[0], folder / names[1])[0]
    start = time.process_time()
    for file in files:
        pair = read_pair(file.first, file.second, resize=True)
        angle = zlib.crc32(file.name.encode()) % 8 * math.pi / 4 + 0.2
        for shift in _SHIFTS:
            off = offset(_shifted(pair, *(round(shift * f(angle)) for f in (math.cos, math.sin))))
            counts[shift] += bool(off and off.suspicious)
    cost = (time.process_time() - start) / len(_SHIFTS) / len(files)
    shares = ", ".join(f"{count / len(files):.0%} at {shift}" for shift, count in counts.items())
    print(
        f"{folder}, {len(files)} pairs look misaligned: {shares} px; {1000 * cost:.0f} CPU ms each"
    )


def _shifted(pair: ImagePair, right: int, down: int) -> ImagePair:
    height, width = pair.first.shape[-2:]
    rows, columns = (slice(_MARGIN, side - _MARGIN) for side in (height, width))
    moved = pair.second[
        :,
        rows.start + down : rows.stop + down,
        columns.start + right : columns.stop + right,
    ]
    return pair._replace(first=pair.first[:, rows, columns], second=moved)


def _ten(data: Path) -> list[ImagePair]:
    """The pairs of the protocol: 5 of TNO and 5 of RoadScene."""
    draw = random.Random(0)
    chosen = []
    for name in ("tno", "roadscene"):
        chosen += draw.sample(sorted((data / name / "test" / "ir").iterdir()), 5)
    firsts = [next((path.parents[1] / "vi").glob(f"{path.stem}.*")) for path in chosen]
    return [read_pair(*files) for files in zip(firsts, chosen, strict=True)]


def _similarity(seed: int, size: Size) -> Tensor:
    draw = np.random.default_rng(seed)
    angle, scale = np.deg2rad(draw.uniform(-5, 5)), draw.uniform(0.9, 1.1)
    x, y = draw.uniform(-20, 20, 2)
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    middle = size[1] / 2, size[0] / 2
    turned = geometry.matrix([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    there = geometry.translation(middle[0] + x, middle[1] + y)
    return there @ turned @ geometry.translation(-middle[0], -middle[1])


def _warp(image: Tensor, truth: Tensor) -> Tensor:
    """The image moved by the matrix, borders replicated."""
    height, width = image.shape[-2:]
    levels = (image[0] * 255).round().byte().numpy()
    border = cv2.BORDER_REPLICATE
    moved = cv2.warpPerspective(
        levels, truth.numpy(), (width, height), flags=cv2.INTER_CUBIC, borderMode=border
    )
    return torch.from_numpy(moved).float()[None] / 255


if __name__ == "__main__":
    main()
