"""The plain graph against the fast form: `python -m benchmarks.runtime [HEIGHT WIDTH]...`.

Every side fuses the same random pair in a process of its own, in turns, twice; the second time
counts. Seconds are medians; the peak of memory is that of the process, PyTorch's own part (about
0.3 GB) included. The table is printed as Markdown, the figures go to --output as JSON.
"""

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import exported
from benchmarks.plain import plain
from cddfuse import create_model
from cddfuse.models.cddfuse import CDDFuse
from cddfuse.runtime import Limits, run
from cddfuse.runtime.allocator import keep_memory

Fuser = Callable[[Tensor, Tensor], Tensor]


def _plain(model: CDDFuse) -> Fuser:
    return plain(model)


def _plain_tuned(model: CDDFuse) -> Fuser:
    keep_memory()
    return plain(model)


def _module(model: CDDFuse) -> Fuser:
    keep_memory()
    return model


def _bf16(model: CDDFuse) -> Fuser:
    keep_memory()
    return lambda first, second: run(model, first, second, Limits(precision="bf16"))


def _fast(model: CDDFuse) -> Fuser:
    return lambda first, second: run(model, first, second)


def _fast_tuned(model: CDDFuse) -> Fuser:
    keep_memory()
    return lambda first, second: run(model, first, second)


SIDES: dict[str, Callable[[CDDFuse], Fuser]] = {
    "plain graph, default allocator": _plain,
    "plain graph, tuned allocator": _plain_tuned,
    "module, tuned allocator": _module,
    "module, bf16, tuned allocator": _bf16,
    "patches, default allocator": _fast,
    "patches, tuned allocator": _fast_tuned,
    **exported.SIDES,
}
DEFAULT = [name for name in SIDES if "bf16" not in name and name not in exported.SIDES]


def one_side(side: str, height: int, width: int) -> dict[str, float]:
    model = create_model("cddfuse", "ivf")
    assert isinstance(model, CDDFuse)
    fuser = SIDES[side](model)
    pair = torch.rand(2, 1, 1, height, width, generator=torch.Generator().manual_seed(0)).unbind()
    with torch.inference_mode():
        for _ in range(2):  # the first one warms up
            begun, cpu = time.perf_counter(), time.process_time()
            fused = fuser(*pair)
            seconds = {
                "seconds": time.perf_counter() - begun,
                "cpu_seconds": time.process_time() - cpu,
            }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {**seconds, "peak_gib": peak, "mean": float(fused.double().mean())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("size", type=int, nargs="*", default=[480, 640])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--sides", nargs="*", default=DEFAULT, choices=list(SIDES))
    parser.add_argument("--one", choices=list(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    sizes = list(zip(arguments.size[::2], arguments.size[1::2], strict=True))
    if arguments.one:
        sys.stdout.write(json.dumps(one_side(arguments.one, *sizes[0])))
        return
    results: dict[str, Any] = {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "numba": version("numba"),
        "date": time.strftime("%Y-%m-%d"),
        "turns": arguments.turns,
        "rows": [],
    }
    for height, width in sizes:
        runs: dict[str, list[dict[str, float]]] = {side: [] for side in arguments.sides}
        for _ in range(arguments.turns):
            for side, kept in runs.items():
                command = [sys.executable, "-m", "benchmarks.runtime", str(height), str(width)]
                answer = subprocess.run(
                    [*command, "--one", side], check=True, capture_output=True, text=True
                )
                kept.append(json.loads(answer.stdout))
        for side, kept in runs.items():
            row = {key: statistics.median(one[key] for one in kept) for key in kept[0]}
            results["rows"].append({"height": height, "width": width, "side": side, **row})
    sys.stdout.write(table(results))
    if arguments.output:
        arguments.output.write_text(json.dumps(results, indent=2) + "\n")


def table(results: dict[str, Any]) -> str:
    """Markdown; ratios are to the first row of the size."""
    lines = ["| size | | seconds | CPU seconds | times | peak GiB |", "| - | - | - | - | - | - |"]
    first: dict[tuple[int, int], float] = {}
    for row in results["rows"]:
        size = (row["width"], row["height"])
        times = first.setdefault(size, row["seconds"]) / row["seconds"]
        lines.append(
            f"| {size[0]}x{size[1]} | {row['side']} | {row['seconds']:.2f} | "
            f"{row['cpu_seconds']:.2f} | {times:.2f} | {row['peak_gib']:.2f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
