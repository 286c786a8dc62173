"""Tiles with sampled attention against the exact result: `python -m benchmarks.sampled`.

Differences in grey levels of 255, on pairs of the test sets in --data, for several sizes of the
sample; "all, far apart" is the whole image cut into squares and put together in another order, so
that every square has foreign neighbours; --mosaic makes one large image of many. The margin is what
is not counted at the edges of squares that come from afar. Every pair is fused in one piece with
the matrices of the sample, which is what tiles give, only faster.
"""

import argparse
import statistics
import sys
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from cddfuse import colour, create_model
from cddfuse.io import pair_folders, read_pair
from cddfuse.models.cddfuse import CDDFuse
from cddfuse.runtime.cddfuse import sampled
from cddfuse.runtime.cddfuse.exact import Fast

SETS = {"roadscene": 6, "tno": 4}


def apart(length: int, side: int) -> list[tuple[int, int]]:
    """The whole of a line in pieces of 64, neighbours far apart: as in an image far larger."""
    count = -(-length // 64)
    edges = [length * index // count for index in range(count + 1)]
    pieces = list(pairwise(edges))
    return pieces[::2] + pieces[1::2]


def brightness(place: Path, count: int) -> list[tuple[Tensor, Tensor]]:
    """Some pairs of a test set, evenly spread."""
    files = pair_folders(place / "vi", place / "ir")[0]
    chosen = [files[len(files) * index // count] for index in range(count)]
    pairs = [read_pair(one.first, one.second) for one in chosen]
    return [(colour.split(p.first)[0][None], colour.split(p.second)[0][None]) for p in pairs]


def mosaic(pairs: list[tuple[Tensor, Tensor]], side: int) -> tuple[Tensor, Tensor]:
    """One image of `side` x `side` pairs, each drawn to twice the size of the first."""
    shape = [2 * length for length in pairs[0][0].shape[-2:]]

    def joined(images: list[Tensor]) -> Tensor:
        drawn = [F.interpolate(x, shape, mode="bicubic", antialias=True) for x in images]
        rows = [torch.cat(drawn[at : at + side], -1) for at in range(0, side * side, side)]
        return torch.cat(rows, -2).clamp(0, 1)

    first, second = ([pair[which] for pair in pairs] for which in (0, 1))
    return joined(first), joined(second)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--sides", type=int, nargs="*", default=(256, 320))
    parser.add_argument("--margins", type=int, nargs="*", default=(0, 8))
    parser.add_argument("--pairs", type=int, nargs=2, default=tuple(SETS.values()))
    parser.add_argument("--mosaic", type=int, help="one image of so many pairs, squared, instead")
    arguments = parser.parse_args()
    model = create_model("cddfuse", "ivf")
    assert isinstance(model, CDDFuse)
    fast = Fast(model)
    lines: dict[tuple[str, str, int], list[tuple[float, float]]] = {}
    samples = {f"{side}x{side}": (side, sampled._spread) for side in arguments.sides}
    if arguments.mosaic:
        pairs = brightness(arguments.data / "roadscene" / "test", arguments.mosaic**2)
        sets = {"mosaic": [mosaic(pairs, arguments.mosaic)]}
    else:
        samples["all, far apart"] = (0, apart)
        counts = zip(SETS, arguments.pairs, strict=True)
        sets = {name: brightness(arguments.data / name / "test", count) for name, count in counts}
    for name, pairs in sets.items():
        for pair in pairs:
            exact = fast(*pair)
            for label, (side, sampled._spread) in samples.items():
                for sampled._MARGIN in arguments.margins:
                    matrices = list[Tensor]()
                    one, two, counted = sampled.sample(*pair, side)
                    fast(one, two, found=matrices, counted=counted)
                    off = 255 * (fast(*pair, given=matrices) - exact).abs()
                    figures = float(off.max()), float(off.mean())
                    lines.setdefault((name, label, sampled._MARGIN), []).append(figures)
                    sys.stderr.write(f"{name}, {label}, {sampled._MARGIN}: {figures}\n")
    print("| set | pairs | sample | margin | largest | median of largest | mean |")
    print("| - | - | - | - | - | - | - |")
    for (name, label, margin), found in lines.items():
        largest, mean = zip(*found, strict=True)
        cells = [name, len(found), label, margin, f"{max(largest):.1f}"]
        cells += [f"{statistics.median(largest):.1f}", f"{statistics.mean(mean):.2f}"]
        print("| " + " | ".join(map(str, cells)) + " |")


if __name__ == "__main__":
    main()
