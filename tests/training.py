"""Small training runs for tests."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from cddfuse.io import write_image
from cddfuse.pair import ImagePair
from cddfuse.recipes.cddfuse import PRESETS, CDDFuseRecipe

SMALL = replace(
    PRESETS["quick"], crop=16, batch=2, epochs=(1, 1), minutes=0, steps=6, warmup=2, clip_norm=0.01
)


def small(**changes: object) -> CDDFuseRecipe:
    """A recipe of a second or two."""
    return replace(SMALL, **changes)  # type: ignore[arg-type]


def random_pairs(count: int, side: int = 24) -> list[ImagePair]:
    """Grey pairs of smooth random texture."""
    rng = torch.Generator().manual_seed(7)
    images = torch.rand(count, 2, 1, side // 4, side // 4, generator=rng)
    images = torch.nn.functional.interpolate(images.flatten(0, 1), (side, side), mode="bilinear")
    pairs = images.unflatten(0, (count, 2))
    return [ImagePair(pair[0], pair[1], f"{index:02}") for index, pair in enumerate(pairs)]


def write_pairs(root: Path, count: int = 4, side: int = 24) -> tuple[Path, Path]:
    """Two folders of pairs on disk."""
    first, second = root / "vi", root / "ir"
    for pair in random_pairs(count, side):
        write_image(first / f"{pair.name}.png", pair.first)
        write_image(second / f"{pair.name}.png", pair.second)
    return first, second


def command(arguments: Sequence[object]) -> "subprocess.Popen[str]":
    """`cddfuse` as a program of its own, one thread."""
    return subprocess.Popen(
        [sys.executable, "-m", "cddfuse", *(str(argument) for argument in arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
