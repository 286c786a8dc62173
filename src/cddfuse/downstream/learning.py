"""Train a network for a number of steps. What step n sees depends on the seed and n alone."""

import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cddfuse.downstream.inputs import Arrays
from cddfuse.errors import InputError
from cddfuse.io import replacing
from cddfuse.threads import single_threaded

_WARM_UP = 30
_LAST = 0.01  # share of the learning rate at the end
_CLIP = 10.0
_GAIN = (0.8, 1.25)  # brightness of a training image
_SAVED_EVERY = 60.0  # seconds
_APART = 1_000_003  # random numbers of two seeds are those of different steps
_TIMED, _BEFORE = 4, 2  # steps that a budget is measured by


@dataclass(frozen=True)
class Training:
    """How long and how fast."""

    steps: int
    batch: int = 4
    rate: float = 2e-3
    """Peak learning rate; it rises for 30 steps, and falls as a cosine."""


class Task(Protocol):
    """What a network learns."""

    count: int
    """Number of images to train on, which are the first of all."""

    def targets(self, places: Sequence[int], flipped: Sequence[bool]) -> Any:
        """For a batch of images, by their places among those to train on."""
        ...

    def loss(self, output: Any, wanted: Any) -> Tensor:
        """Of what the network said."""
        ...


def train(
    network: nn.Module,
    images: Sequence[Arrays],
    task: Task,
    training: Training,
    seed: int,
    *,
    device: torch.device | str = "cpu",
    checkpoint: Path | None = None,
    after: Callable[[int], None] = lambda step: None,
) -> nn.Module:
    """Train a network in place, and return it in evaluation mode.

    Args:
        network: takes (B, C, H, W) in [0, 1].
        images: (images, C, H, W) in 8 bits. Of several, each image of a batch is of one of them.
        task: targets and loss.
        training: steps, batch, learning rate.
        seed: of batches; the network has been initialised by its caller.
        device: where.
        checkpoint: a file that the state is kept in now and then, from which training goes on.
        after: called with the number of steps done.
    """
    network.to(device).train()
    optimizer = torch.optim.AdamW(network.parameters(), training.rate, weight_decay=1e-4)
    first, before = _restored(checkpoint, network, optimizer)
    start, saved = spent() - before, time.monotonic()
    with torch.random.fork_rng(_gpus(device)):
        for step in range(first, training.steps):
            torch.manual_seed(seed * _APART + step)  # what dropout draws
            for group in optimizer.param_groups:
                group["lr"] = training.rate * _schedule(step, training.steps)
            batch, wanted = _batch(images, task, training.batch, seed, step)
            loss = task.loss(network(batch.to(device)), _moved(wanted, device))
            if not torch.isfinite(loss):
                raise InputError(
                    f"training came apart at step {step} with seed {seed}: its loss is no number."
                )
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), _CLIP)
            optimizer.step()
            if checkpoint and time.monotonic() - saved > _SAVED_EVERY:
                _save(checkpoint, network, optimizer, step + 1, spent() - start)
                saved = time.monotonic()
            after(step + 1)
    if checkpoint:
        with suppress(OSError):
            checkpoint.unlink()
    return network.eval()


def _gpus(device: torch.device | str) -> list[int]:
    """Those whose random numbers dropout draws."""
    where = torch.device(device)
    return [where.index or 0] if where.type == "cuda" else []


def _schedule(step: int, steps: int) -> float:
    rise = min(1.0, (step + 1) / _WARM_UP)
    return rise * (0.5 * (1 + math.cos(math.pi * step / steps)) + _LAST)


def _batch(
    images: Sequence[Arrays], task: Task, size: int, seed: int, step: int
) -> tuple[Tensor, Any]:
    rng = np.random.default_rng([seed, step])
    places = rng.choice(task.count, size, replace=task.count < size).tolist()
    flipped = (rng.random(size) < 0.5).tolist()
    gains = rng.uniform(*_GAIN, size).astype(np.float32)
    chosen = rng.integers(len(images), size=size)
    drawn: list[NDArray[np.float32]] = []
    for place, flip, which in zip(places, flipped, chosen, strict=True):
        image = images[which][place]
        drawn.append(image[..., ::-1] if flip else image)
    batch = torch.from_numpy(np.stack(drawn)).float() / 255
    return batch * torch.from_numpy(gains)[:, None, None, None], task.targets(places, flipped)


def _moved(value: Any, device: torch.device | str) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    return type(value)(*(part.to(device) for part in value))


def spent() -> float:
    """Processor time of this process, with that of programs that were run."""
    return sum(os.times()[:4])


def seconds_kept(checkpoint: Path) -> float:
    """Processor time that training had taken when its state was kept; 0 if none is there."""
    try:
        return float(torch.load(checkpoint, map_location="cpu", weights_only=True)["seconds"])
    except Exception:  # as in `_restored`
        return 0.0


def _save(
    path: Path,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
    seconds: float,
) -> None:
    state = {
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
        "seconds": seconds,
    }
    with replacing(path) as temporary:
        torch.save(state, temporary)


def _restored(
    path: Path | None, network: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[int, float]:
    """Go on from a checkpoint; returns the number of steps that were done, and their seconds."""
    if path is None or not path.is_file():
        return 0, 0.0
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        done = int(state["step"]), float(state["seconds"])
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        return done
    except Exception:  # a damaged file of many kinds: begin anew
        return 0, 0.0


@single_threaded  # as most trainings are, for each has a core of its own
def steps_within(
    seconds: float,
    network: nn.Module,
    images: Sequence[Arrays],
    task: Task,
    training: Training,
    device: torch.device | str,
) -> int:
    """How many steps fit into a time, measured by a few: processor time, or time on a GPU."""
    network.to(device).train()
    optimizer = torch.optim.AdamW(network.parameters(), training.rate)
    spent = 0.0
    for step in range(_BEFORE + _TIMED):
        start = _clock(device)
        batch, wanted = _batch(images, task, training.batch, 0, step)
        task.loss(network(batch.to(device)), _moved(wanted, device)).backward()
        optimizer.step()
        optimizer.zero_grad()
        if step >= _BEFORE:
            spent += _clock(device) - start
    return max(1, int(seconds * _TIMED / spent))


def _clock(device: torch.device | str) -> float:
    if torch.device(device).type == "cpu":
        return time.process_time()
    torch.accelerator.synchronize()
    return time.perf_counter()
