"""How near a tone comes to its teacher's on a camera that it has never seen.

`python -m benchmarks.cameras HELD OTHER [OTHER ...] [--cameras 0 0.75] [--crops 200] [--side 128]`
trains the tone of `cddfuse_small` alone, on random crops of the folders OTHER (each with both
sides, as for `cddfuse train`), and prints its PSNR to the teacher's image on unchanged crops of
HELD, for each share of crops that look as if taken by other cameras. A tone's squared error is a
quadratic form of its 15 coefficients, so training takes seconds; most of the time is the teacher's.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.progress import track

from cddfuse import runtime
from cddfuse.datasets.base import PairFolder
from cddfuse.datasets.crops import Crops
from cddfuse.io import pair_folders
from cddfuse.models.cddfuse_small import Tone
from cddfuse.models.load import load_network
from cddfuse.recipes.memory import Memory
from cddfuse.recipes.teacher import Teacher

BATCH, STEPS, RATE, SEEDS = 64, 2_500, 3e-3, 4
LEAST = 3e-4  # mean square, 35 dB: what is nearer counts little


def remembered(crops: Crops, count: int, teacher: Teacher) -> Memory:
    """Ask the teacher about so many crops."""
    tone = Tone(8)
    memory = Memory(tone, count)
    for step in track(range(count), "crops"):
        pair = crops.batch(step)
        memory.keep(tone, pair.first, pair.second, teacher(pair.first, pair.second))
    return memory


def decibels(memory: Memory, held: Memory, seed: int) -> tuple[float, float]:
    """Train, and measure on what was trained on and on what was held out."""
    torch.manual_seed(seed)
    decide = Tone(56).decide
    optimizer = torch.optim.AdamW(decide.parameters(), lr=RATE, weight_decay=0.3)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, STEPS, pct_start=0.05)
    for _ in range(STEPS):
        chosen = torch.randint(len(memory.seen), (BATCH,))
        loss = (memory.squares(decide(memory.seen[chosen]), chosen) + LEAST).log().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rates.step()
    with torch.no_grad():
        squares = [
            each.squares(decide(each.seen), torch.arange(len(each.seen))) for each in (memory, held)
        ]
    trained, tested = (float(-10 * each.log10().mean()) for each in squares)
    return trained, tested


def crops_of(folders: Sequence[Path], side: int, cameras: float, changed: bool) -> Crops:
    """Random crops, one at a time."""
    paths = [paths for folder in folders for paths in pair_folders(folder)[0]]
    return Crops(
        PairFolder(paths),
        size=side,
        batch=1,
        flips=changed,
        jitter=0.15 if changed else 0,
        darken=0.25 if changed else 0,
        cameras=cameras,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("held", type=Path)
    parser.add_argument("others", type=Path, nargs="+")
    parser.add_argument("--cameras", type=float, nargs="+", default=[0, 0.75])
    parser.add_argument("--crops", type=int, default=200)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--model", default="cddfuse")
    parser.add_argument("--task", choices=("ivf", "mif"), default="ivf")
    arguments = parser.parse_args()
    runtime.prepare_process()
    teacher = Teacher(load_network(arguments.model, arguments.task))
    unseen = crops_of([arguments.held], arguments.side, 0, changed=False)
    held = remembered(unseen, arguments.crops, teacher)
    for share in arguments.cameras:
        crops = crops_of(arguments.others, arguments.side, share, changed=True)
        data = remembered(crops, arguments.crops, teacher)
        found = torch.tensor([decibels(data, held, seed) for seed in range(SEEDS)])
        (trained, tested), (_, spread) = found.mean(0).tolist(), found.std(0).tolist()
        print(
            f"cameras {share:g}: {trained:.1f} dB on its crops, {tested:.1f} dB (deviation "
            f"{spread:.1f} over {SEEDS} seeds) on {arguments.held.name}"
        )


if __name__ == "__main__":
    main()
