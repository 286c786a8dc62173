"""All ways to run CDDFuse against each other: `python -m benchmarks.runtime [HEIGHT WIDTH]...`.

Every side fuses the same random pair in a process of its own, in turns, twice; the second time
counts. (With the default allocator the first time is a corner of the pair: memory is given back
after every layer, so a second time is like the first.) Figures are medians; the peak of memory is
that of the process, PyTorch's own part (about 0.3 GB) included; differences are to the plain graph,
in grey levels of 255. Every run is written to --output at once, so a benchmark that was stopped
goes on, and sides can be added later; the table is printed as Markdown from that file, and `--plot`
draws it. Export once before, by `cddfuse fuse --backend onnxruntime`: it would count for the peak
of the first turn.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch
from torch import Tensor

from benchmarks.plain import plain
from cddfuse import create_model
from cddfuse.export import run_by
from cddfuse.models.cddfuse import CDDFuse
from cddfuse.models.exported import Backend
from cddfuse.runtime import Limits, run
from cddfuse.runtime.allocator import keep_memory
from cddfuse.runtime.peak import peak_bytes

Fuser = Callable[[Tensor, Tensor], Tensor]
SIZES = (256, 256, 480, 640, 1024, 1280)
RESULTS = Path(__file__).parent / "results" / "runtime.json"
PLOT = Path(__file__).parents[1] / "docs" / "runtime.svg"


class Side(NamedTuple):
    """A way to run the network."""

    prepare: Callable[[CDDFuse], Fuser]
    tuned: bool = True
    """Whether glibc is told to keep freed memory, as the command line does."""

    turns: int | None = None
    """At most, where the machine makes it slow."""


def _run(limits: Limits | None = None) -> Callable[[CDDFuse], Fuser]:
    return lambda model: lambda first, second: run(model, first, second, limits)


def _exported(backend: Backend) -> Callable[[CDDFuse], Fuser]:
    return lambda model: _run()(run_by(model, backend))  # type: ignore[arg-type]


SIDES = {
    "plain graph, default allocator": Side(plain, tuned=False),
    "plain graph": Side(plain),
    "whole image": Side(lambda model: model),
    "patches, default allocator": Side(_run(), tuned=False),
    "patches": Side(_run()),
    "bf16": Side(
        _run(Limits(precision="bf16")), turns=None if torch.cpu._is_avx512_bf16_supported() else 1
    ),
    "ONNX Runtime": Side(_exported("onnxruntime")),
    "OpenVINO": Side(_exported("openvino")),
}
YARDSTICK = "plain graph"


def one_side(name: str, height: int, width: int, image: Path) -> dict[str, float]:
    """Figures of one run; the image is left in a file."""
    # What does not fit fails here, instead of taking other programs with it.
    room = int(0.9 * psutil.virtual_memory().available)
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (room, room))
    side, model = SIDES[name], create_model("cddfuse", "ivf")
    assert isinstance(model, CDDFuse)
    if side.tuned:
        keep_memory()
    fuser = side.prepare(model)
    pair = torch.rand(2, 1, 1, height, width, generator=torch.Generator().manual_seed(0)).unbind()
    with torch.inference_mode():
        fuser(*(x if side.tuned else x[..., :64, :64] for x in pair))  # to warm up
        begun, cpu = time.perf_counter(), time.process_time()
        fused = fuser(*pair)
        seconds = time.perf_counter() - begun
        of_processors = time.process_time() - cpu
    torch.save(fused, image)
    peak = peak_bytes() / 2**30
    return {"seconds": seconds, "cpu_seconds": of_processors, "peak_gib": peak}


def in_process(name: str, height: int, width: int, image: Path) -> dict[str, Any]:
    """Figures of one run in a process of its own, or why there are none."""
    command = [sys.executable, "-m", "benchmarks.runtime", str(height), str(width)]
    command += ["--one", name, "--image", str(image)]
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode:
        return {"failed": (answer.stderr.strip() or "killed").splitlines()[-1][:200]}
    return dict(json.loads(answer.stdout))


def measured(name: str, height: int, width: int, folder: Path) -> dict[str, Any]:
    """Figures of one run, with the difference to the yardstick."""
    load, begun = os.getloadavg()[0], time.strftime("%Y-%m-%d %H:%M")
    image, expected = (folder / f"{side} {width}x{height}.pt" for side in (name, YARDSTICK))
    figures = {**in_process(name, height, width, image), "load": load, "begun": begun}
    if not expected.exists():  # a benchmark goes on
        in_process(YARDSTICK, height, width, expected)
    if "failed" not in figures:
        difference = 255 * (torch.load(image) - torch.load(expected)).abs()
        figures["levels_max"] = float(difference.max())
        figures["levels_mean"] = float(difference.mean())
    return figures


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    packages: dict[str, str] = {}
    for name in ("torch", "numba", "onnxruntime", "openvino", "onnx"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    cpu = platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(": ")[1] for line in lines if line.startswith("model name")), cpu)
    return {
        "cpu": f"{cpu}, {torch.backends.cpu.get_cpu_capability()}",
        "threads": torch.get_num_threads(),
        "packages": packages,
    }


Row = dict[str, Any]
"""One run: height, width, side, turn and its figures."""


def key(row: Row) -> tuple[Any, ...]:
    return row["height"], row["width"], row["side"], row["turn"]


def measure(sizes: list[tuple[int, int]], names: list[str], turns: int, output: Path) -> None:
    """Do what is not in the file yet, the yardstick first, as others are compared with it."""
    results = read(output)
    names = sorted(names, key=lambda name: name != YARDSTICK)
    with tempfile.TemporaryDirectory() as folder:
        for height, width in sizes:
            for turn in range(turns):
                for name in names:
                    row = {"height": height, "width": width, "side": name, "turn": turn}
                    done = key(row) in map(key, results["runs"])
                    if done or turn >= (SIDES[name].turns or turns):
                        continue
                    figures = measured(name, height, width, Path(folder))
                    results["runs"].append({**row, **figures})
                    output.write_text(json.dumps(results, indent=1) + "\n")
                    told = figures.get("failed") or f"{figures['seconds']:.1f} s"
                    sys.stderr.write(f"{width}x{height}, {name}: {told}\n")


def read(output: Path) -> dict[str, Any]:
    """What is in the file, if it is of this machine and these versions."""
    here = machine()
    if not output.exists():
        return {**here, "runs": []}
    results = json.loads(output.read_text())
    here["packages"] = {**results["packages"], **here["packages"]}  # some come later
    results["packages"] = {**here["packages"], **results["packages"]}
    if {name: results[name] for name in here} != here:
        raise SystemExit(f"{output} is of another machine or other versions: name another --output")
    return dict(results)


def medians(runs: list[Row]) -> list[Row]:
    """A row for each size and side, in the order of SIDES."""
    rows = []
    runs = [r for r in runs if "failed" not in r]
    for size in sorted({(r["height"], r["width"]) for r in runs}):
        for name in SIDES:
            of_side = [r for r in runs if (r["height"], r["width"], r["side"]) == (*size, name)]
            if of_side:
                numbers = {k for r in of_side for k, v in r.items() if isinstance(v, float)}
                values = {k: [r[k] for r in of_side if k in r] for k in numbers}
                row = {"size": f"{size[1]}x{size[0]}", "side": name, "turns": len(of_side)}
                rows.append({**row, **{k: statistics.median(v) for k, v in values.items()}})
    return rows


def table(rows: list[Row]) -> str:
    """Markdown; ratios are to the plain graph with both allocators."""
    lines = [
        "| size | | turns | seconds | CPU seconds | times default | times tuned | peak GiB | "
        "levels, max | mean |",
        "| " + "- | " * 10,
    ]
    for row in rows:
        slow = (
            next(
                (r["seconds"] for r in rows if (r["size"], r["side"]) == (row["size"], name)), None
            )
            for name in ("plain graph, default allocator", YARDSTICK)
        )
        ratios = [f"{s / row['seconds']:.2f}" if s else "" for s in slow]
        levels = [f"{row[k]:.2g}" if k in row else "" for k in ("levels_max", "levels_mean")]
        cells = [row["size"], row["side"], str(row["turns"]), f"{row['seconds']:.2f}"]
        cells += [f"{row['cpu_seconds']:.2f}", *ratios, f"{row['peak_gib']:.2f}", *levels]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def draw(rows: list[Row], path: Path) -> None:
    """Seconds and memory of every side, a panel for each size."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    sizes = sorted({row["size"] for row in rows}, key=lambda size: int(size.split("x")[0]))
    figure, axes = pyplot.subplots(
        len(sizes), 2, figsize=(9, 2.6 * len(sizes)), squeeze=False, layout="constrained"
    )
    columns = (("seconds", "seconds"), ("peak_gib", "peak memory, GiB"))
    for line, size in zip(axes, sizes, strict=True):
        of_size = [row for row in rows if row["size"] == size][::-1]
        for axis, (field, label) in zip(line, columns, strict=True):
            bars = axis.barh([row["side"] for row in of_size], [row[field] for row in of_size])
            axis.bar_label(bars, fmt="%.3g", padding=2, fontsize=8)
            axis.set(title=size, xlabel=label)
            axis.margins(x=0.15)
    for axis in axes[:, 1]:
        axis.set_yticklabels([])
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("size", type=int, nargs="*", default=SIZES)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--sides", nargs="*", default=list(SIDES), choices=list(SIDES))
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--plot", type=Path, nargs="?", const=PLOT)
    parser.add_argument("--one", choices=list(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--image", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sizes = list(zip(arguments.size[::2], arguments.size[1::2], strict=True))
    if arguments.one:
        sys.stdout.write(json.dumps(one_side(arguments.one, *sizes[0], arguments.image)))
        return
    measure(sizes, arguments.sides, arguments.turns, arguments.output)
    rows = medians(read(arguments.output)["runs"])
    sys.stdout.write(table(rows))
    if arguments.plot:
        draw(rows, arguments.plot)


if __name__ == "__main__":
    main()
