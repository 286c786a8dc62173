"""How much a fused clip flickers: static regions from frame to frame, with and without smoothing.

    python benchmarks/flicker.py vi.mp4 ir.mp4 --frames 16 --scale 4 --body

Prints, in levels of 255: the largest step of the mean of all static pixels from one frame to the
next, and the mean deviation of a static pixel over time.
"""

import argparse
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from cddfuse.fuse import fuse
from cddfuse.history import History
from cddfuse.io.formats import Reading, open_source
from cddfuse.models.load import load_network
from cddfuse.pair import ImagePair

STATIC = 6 / 255  # by which the mean of 9 x 9 pixels may change over the clip


def frames(arguments: argparse.Namespace) -> list[ImagePair]:
    """Reduced grey frames; a hot body close to the camera enters half way, if asked for."""
    source, pairs = open_source(arguments.first, arguments.second, Reading()), []
    for number, entry in enumerate(islice(source, arguments.frames)):
        one, other = (
            F.avg_pool2d(image.mean(0, keepdim=True), arguments.scale)
            for image in entry.read().pair[:2]
        )
        if arguments.body and number >= arguments.frames // 2:
            height, width = other.shape[-2:]
            other[..., height // 2 :, width // 2 : width * 7 // 8] = 0.95
        pairs.append(ImagePair(one, other, entry.name))
    return pairs


def fused(model: torch.nn.Module, pairs: list[ImagePair], history: History | None) -> Tensor:
    """All results, (frames, H, W)."""
    results = []
    for pair in pairs:
        if history is None:
            results.append(fuse(model, pair)[0])  # type: ignore[arg-type]
        else:
            with history.frame():
                results.append(fuse(model, pair)[0])  # type: ignore[arg-type]
    return torch.stack(results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--model", default="cddfuse")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--body", action="store_true")
    arguments = parser.parse_args()
    pairs = frames(arguments)
    sides = [
        torch.stack([pair.first[0] for pair in pairs]),
        torch.stack([pair.second[0] for pair in pairs]),
    ]
    smooth = [F.avg_pool2d(side[:, None], 9, 1, 4)[:, 0] for side in sides]
    static = torch.stack([x.amax(0) - x.amin(0) < STATIC for x in smooth]).all(0)
    model = load_network(arguments.model)
    rows = {
        "first": sides[0],
        "second": sides[1],
        "fused, each frame alone": fused(model, pairs, None),
        "fused, as a clip": fused(model, pairs, History()),
    }
    print(f"{static.float().mean():.0%} of the pixels are static")
    for name, images in rows.items():
        values = 255 * images[:, static]
        step = values.mean(1).diff().abs().max()
        print(f"{name:24s} step {step:5.2f}  deviation {values.std(0, unbiased=False).mean():.2f}")


if __name__ == "__main__":
    main()
