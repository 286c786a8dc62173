"""Seconds per training step against the graph written plainly: `python -m benchmarks.training`.

Both sides run the same stage-two step (forward, backward, clipping, Adam) on the same data in the
same process, in turns, under the same allocator; the table has medians. Arguments: the crops.
"""

import statistics
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
from cddfuse.train.trainer import Trainer

BATCH, TURNS = 8, 3


def seconds(trainer: Trainer, batch: ImagePair) -> float:
    begun = time.perf_counter()
    trainer.step(batch)
    return time.perf_counter() - begun


def main() -> None:
    keep_memory()
    recipe = RECIPES["cddfuse"]["released"]
    trainers = []
    for model in (plain(CDDFuse()), CDDFuse()):
        trainer = Trainer(recipe, model, Fabric(accelerator="cpu", devices=1))
        trainer.standing.plan = (0, 10**6)
        trainers.append(trainer)
    print(f"batch {BATCH}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for crop in [int(argument) for argument in sys.argv[1:]] or [64, 128]:
        batch = ImagePair(*torch.rand(2, BATCH, 1, crop, crop))
        times: list[list[float]] = [[], []]
        for turn in range(TURNS + 1):
            for trainer, kept in zip(trainers, times, strict=True):
                taken = seconds(trainer, batch)
                if turn:  # the first turn warms up
                    kept.append(taken)
        slow, fast = (statistics.median(kept) for kept in times)
        print(f"{crop} x {crop}: plain {slow:.2f} s, ours {fast:.2f} s, ratio {slow / fast:.2f}")


main()
