"""Estimated and measured peak memory of every network: `python -m benchmarks.memory [NAME]...`.

Every network fuses a random pair in a process of its own, at two sizes, on a CPU. The estimate is
that of `cddfuse.runtime.memory`, by which images go in tiles; the measurement is how much the
process grew, once with the default allocator and once with that of the command line.
"""

import json
import subprocess
import sys

import psutil
import torch

from cddfuse.models import MODELS, create_model
from cddfuse.runtime import memory, prepare_process
from cddfuse.runtime.peak import peak_bytes, reset_peak

SIZES = ((240, 320), (480, 640))


def one_run(name: str, height: int, width: int, *, tuned: bool) -> tuple[int, int]:
    """Bytes that were estimated and measured."""
    if tuned:
        prepare_process()
    model = create_model(name)
    pair = torch.rand(2, 1, 1, height, width)
    with torch.inference_mode():
        model(*pair[..., :64, :64])  # what is loaded and prepared once
        estimated = memory.needed(model, 1, height, width)
        before = psutil.Process().memory_info().rss
        reset_peak()
        model(*pair)
    return estimated, peak_bytes() - before


def main() -> None:
    arguments = sys.argv[1:]
    if arguments[:1] == ["--one"]:
        name, *size, tuned = arguments[1:]
        print(json.dumps(one_run(name, *map(int, size), tuned=tuned == "tuned")))
        return
    print("| model | size | estimated, GB | measured, GB | tuned: estimated | measured |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in arguments or [name for name in MODELS if name != "cddfuse"]:
        for rows, columns in SIZES:
            cells = [name, f"{columns}x{rows}"]
            for allocator in ("default", "tuned"):
                command = [sys.executable, "-m", "benchmarks.memory", "--one", name]
                command += [str(rows), str(columns), allocator]
                answer = subprocess.run(command, capture_output=True, text=True, check=True)
                cells += [f"{count / 1e9:.3f}" for count in json.loads(answer.stdout)]
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
