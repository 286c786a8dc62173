"""Tiles with sampled attention against the exact result: `python -m benchmarks.sampled`.

Differences in grey levels of 255, on pairs of the test sets in --data, for several sizes of the
sample. The margin is what is not counted at the edges of its squares. Every pair is fused in one
piece with the matrices of the sample, which is what tiles give, only faster.
"""

import argparse
import statistics
import sys
from pathlib import Path

from torch import Tensor

from cddfuse import colour, create_model
from cddfuse.io import pair_folders, read_pair
from cddfuse.models.cddfuse import CDDFuse
from cddfuse.runtime import tiles
from cddfuse.runtime.exact import Fast

SETS = {"roadscene": 6, "tno": 4}


def brightness(place: Path, count: int) -> list[tuple[Tensor, Tensor]]:
    """Some pairs of a test set, evenly spread."""
    files = pair_folders(place / "vi", place / "ir")[0]
    chosen = [files[len(files) * index // count] for index in range(count)]
    pairs = [read_pair(one.first, one.second) for one in chosen]
    return [(colour.split(p.first)[0][None], colour.split(p.second)[0][None]) for p in pairs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--sides", type=int, nargs="*", default=(256, 320))
    parser.add_argument("--margins", type=int, nargs="*", default=(0, 8))
    arguments = parser.parse_args()
    model = create_model("cddfuse", "ivf")
    assert isinstance(model, CDDFuse)
    fast = Fast(model)
    lines: dict[tuple[str, int, int], list[tuple[float, float, float]]] = {}
    for name, count in SETS.items():
        for pair in brightness(arguments.data / name / "test", count):
            exact = fast(*pair)
            for side in arguments.sides:
                for margin in arguments.margins:
                    tiles._MARGIN = margin
                    matrices = list[Tensor]()
                    one, two, counted = tiles.sample(*pair, side)
                    fast(one, two, found=matrices, counted=counted)
                    off = 255 * (fast(*pair, given=matrices) - exact).abs()
                    figures = (float(off.max()), float(off.mean()), one.numel() / exact.numel())
                    lines.setdefault((name, side, margin), []).append(figures)
                    sys.stderr.write(f"{name} {side} {margin}: {figures}\n")
    print("| set | pairs | sample | of the image | margin | largest | median of largest | mean |")
    print("| - | - | - | - | - | - | - | - |")
    for (name, side, margin), found in lines.items():
        largest, mean, share = zip(*found, strict=True)
        cells = [name, len(found), f"{side}x{side}", f"{statistics.mean(share):.0%}", margin]
        cells += [f"{max(largest):.1f}", f"{statistics.median(largest):.1f}"]
        print("| " + " | ".join(map(str, [*cells, f"{statistics.mean(mean):.2f}"])) + " |")


if __name__ == "__main__":
    main()
