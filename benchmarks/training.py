"""Seconds per training step against the graph written plainly: `python -m benchmarks.training`.

Both sides run the same stage-two step (forward, backward, clipping, Adam) on the same data, under
the same allocator, each in processes of their own (one alone needs up to 20 GB), in turns; the
table has medians. Arguments: the crops.
"""

import statistics
import subprocess
import sys
import time

import torch
from lightning_fabric import Fabric
from rich import print

from benchmarks.plain import plain
from cddfuse.models.cddfuse import CDDFuse
from cddfuse.pair import ImagePair
from cddfuse.recipes import RECIPES
from cddfuse.runtime.allocator import keep_memory
from cddfuse.runtime.peak import peak_bytes
from cddfuse.train.trainer import Trainer

BATCH, TURNS, STEPS = 8, 2, 2
SIDES = ("plain", "ours")


def one_side(side: str, crop: int) -> None:
    """Print the seconds of each step after the first, and the peak memory in GB."""
    keep_memory()
    model = plain(CDDFuse()) if side == "plain" else CDDFuse()
    trainer = Trainer(RECIPES["cddfuse"]["released"], model, Fabric(accelerator="cpu", devices=1))
    trainer.progress.plan = (0, 10**6)
    batch = ImagePair(*torch.rand(2, BATCH, 1, crop, crop))
    for step in range(STEPS + 1):
        begun = time.perf_counter()
        trainer.step(batch)
        if step:  # the first one warms up
            sys.stdout.write(f"{time.perf_counter() - begun} ")
    sys.stdout.write(f"{peak_bytes() / 2**30}\n")


def main() -> None:
    print(f"batch {BATCH}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for crop in [int(argument) for argument in sys.argv[1:]] or [64, 128]:
        times: dict[str, list[float]] = {side: [] for side in SIDES}
        memory = {}
        for _ in range(TURNS):
            for side in SIDES:
                command = [sys.executable, "-m", "benchmarks.training", side, str(crop)]
                answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                *seconds, memory[side] = map(float, answer.split())
                times[side] += seconds
        slow, fast = (statistics.median(times[side]) for side in SIDES)
        print(
            f"{crop} x {crop}: plain {slow:.2f} s ({memory['plain']:.1f} GB), "
            f"ours {fast:.2f} s ({memory['ours']:.1f} GB), ratio {slow / fast:.2f}"
        )


if sys.argv[1:2] and sys.argv[1] in SIDES:
    one_side(sys.argv[1], int(sys.argv[2]))
else:
    main()
