"""Kernels, bands of rows and CUDA graphs against the default, in turns: `python -m benchmarks.gpu`.

Made for the minutes for which a GPU can be had; on a CPU, name a small size. Every turn runs each
way once, so that all of them see the same machine. Milliseconds end when the device has finished.
Differences are to the default in fp32, in grey levels of 255; kernels that are further off than the
default at the same precision are named, and the exit code is 1. `--model cddfuse_small` measures
the small network, which has no kernels to choose.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from cddfuse import create_model, read_pair
from cddfuse.colour import luma
from cddfuse.models import FusionModel
from cddfuse.models.cddfuse import CDDFuse
from cddfuse.models.load import find_device
from cddfuse.runtime import Limits, prepare_process, run
from cddfuse.runtime.cddfuse.engine import lacking, lacking_graphs
from cddfuse.runtime.limits import Kernels

EXAMPLES = Path(__file__).parents[1] / "examples"
_MORE = 1.25  # times the default's difference, which varies with the image
_ROUNDING = 0.01  # levels: where the default is fp32 as well


class Way(NamedTuple):
    """What is measured of one way at one size."""

    name: str
    first_seconds: float
    """Of the first call, which may compile; with graphs, of the third."""

    milliseconds: float
    """Median of the turns."""

    fastest: float
    gib: float | None
    """Peak of what PyTorch allocated on a GPU."""

    levels_max: float
    levels_mean: float
    levels_rms: float


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["640x480", "1280x1024"])
    known = get_args(Kernels)
    parser.add_argument("--kernels", nargs="+", choices=known, default=list(known))
    parser.add_argument("--band", type=int, default=60, help="rows, of what is measured so too")
    parser.add_argument("--model", default="cddfuse", help="others have no kernels, but graphs")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--weights", default="ivf")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(words)
    device = find_device(given.device)
    model = create_model(given.model, given.weights).to(device)
    facts = {"device": _name(device), "torch": torch.__version__, "begun": time.strftime("%F %T")}
    sys.stdout.write(", ".join(facts.values()) + "\n")
    ways = ways_of(model, device, given.kernels, given.band, given.precision)
    rows: dict[str, list[Way]] = {}
    for size in given.sizes:
        width, height = map(int, size.split("x"))
        pair = tuple(x.to(device) for x in example(height, width))
        rows[size] = measured(model, pair, ways, given.turns)
        sys.stdout.write(f"\n{size}\n\n{table(rows[size])}\n")
    if given.json:
        sizes = {size: [way._asdict() for way in found] for size, found in rows.items()}
        given.json.write_text(json.dumps({**facts, "sizes": sizes}, indent=1) + "\n")
    far = [f"{size}: {name}" for size, found in rows.items() for name in further_off(found)]
    sys.stdout.writelines(f"further off than the default: {line}\n" for line in far)
    return 1 if far else 0


def ways_of(
    model: FusionModel,
    device: torch.device,
    kernels: Sequence[Kernels],
    band: int,
    precision: Literal["auto", "fp32", "bf16"],
) -> dict[str, Limits]:
    """What can be measured on a device, by name."""
    ways = {"auto, fp32": Limits(precision="fp32")}
    for name in kernels:
        if name != "auto" and not isinstance(model, CDDFuse):
            continue
        if lacks := lacking(name, device):
            sys.stdout.write(f"{name}: left out, {lacks}\n")
            continue
        ways[name] = Limits(kernels=name, precision=precision)
        if name != "auto" and band:
            ways[f"{name}, bands"] = replace(ways[name], band=band)
    if lacks := lacking_graphs(device):
        sys.stdout.write(f"graphs: left out, {lacks}\n")
        return ways
    graphs = {f"{name}, graphs": replace(limits, graphs=True) for name, limits in ways.items()}
    return {**ways, **graphs}


def example(height: int, width: int) -> tuple[Tensor, Tensor]:
    """The pair of the examples at a size, (1, 1, H, W) each."""
    pair = read_pair(EXAMPLES / "night_visible.png", EXAMPLES / "night_infrared.png")
    size = height, width
    first, second = (
        F.interpolate(luma(x)[None], size, mode="bilinear", antialias=True) for x in pair[:2]
    )
    return first, second


def measured(
    model: FusionModel, pair: tuple[Tensor, ...], ways: dict[str, Limits], turns: int
) -> list[Way]:
    """All ways at one size; the first one is the yardstick of differences."""
    first: dict[str, float] = {}
    peaks: dict[str, float | None] = {}
    images: dict[str, Tensor] = {}
    for name, limits in ways.items():
        if pair[0].is_cuda:
            torch.cuda.reset_peak_memory_stats()
        images[name], first[name] = timed(model, pair, limits)
        peaks[name] = torch.cuda.max_memory_allocated() / 2**30 if pair[0].is_cuda else None
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(turns):
        for name, limits in ways.items():
            seconds[name].append(timed(model, pair, limits)[1])
    yardstick = next(iter(images.values()))
    rows = []
    for name, image in images.items():
        off = 255 * (image - yardstick).abs()
        levels = (off.max(), off.mean(), off.square().mean().sqrt())
        times = 1000 * statistics.median(seconds[name]), 1000 * min(seconds[name])
        rows.append(Way(name, first[name], *times, peaks[name], *(float(x) for x in levels)))
    return rows


def timed(model: FusionModel, pair: tuple[Tensor, ...], limits: Limits) -> tuple[Tensor, float]:
    """The fused image, and the seconds until the device has finished it."""
    with torch.inference_mode():
        for _ in range(2 if limits.graphs else 0):  # the second in succession is captured
            run(model, pair[0], pair[1], limits)
        _finish(pair[0].device)
        begun = time.perf_counter()
        fused = run(model, pair[0], pair[1], limits)
        _finish(pair[0].device)
        return fused, time.perf_counter() - begun


def further_off(ways: list[Way]) -> list[str]:
    """Ways that differ more from the yardstick than the default at the same precision."""
    default = next((way.levels_rms for way in ways if way.name == "auto"), 0.0)
    allowed = max(_MORE * default, _ROUNDING)
    return [way.name for way in ways if not way.levels_rms <= allowed]


def table(ways: list[Way]) -> str:
    """Markdown."""
    lines = [
        "| `--kernels` | ms, median | fastest | first call, s | GiB | levels, max | mean | rms |",
        "| --- " * 8 + "|",
    ]
    for way in ways:
        gib = "" if way.gib is None else f"{way.gib:.2f}"
        cells: list[Any] = [way.name, f"{way.milliseconds:.1f}", f"{way.fastest:.1f}"]
        cells += [f"{way.first_seconds:.1f}", gib, f"{way.levels_max:.2g}"]
        cells += [f"{way.levels_mean:.2g}", f"{way.levels_rms:.2g}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


if __name__ == "__main__":
    prepare_process()
    sys.exit(main())
