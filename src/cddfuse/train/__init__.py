"""Follow a recipe, stop and go on at any time, and leave behind what there is to look at.

The only package that knows Lightning Fabric.
"""

import pickle
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal, cast, get_args

import torch
from lightning_fabric import Fabric
from torch import Tensor

from cddfuse.datasets.crops import Batches, Crops
from cddfuse.errors import InputError
from cddfuse.io.files import replacing
from cddfuse.models import FusionModel, save_weights
from cddfuse.pair import ImagePair
from cddfuse.recipes import Recipe
from cddfuse.train.log import TrainingLog
from cddfuse.train.trainer import StepResult, Trainer
from cddfuse.train.validation import Validation

Precision = Literal["32-true", "bf16-mixed"]

STATE, WEIGHTS, BEST, SHEETS = "state.pt", "weights.safetensors", "best.safetensors", "validation"
_PATIENCE = 20  # steps in a row without a number to learn from, before a run is given up
_TIMED = 3  # steps of each stage that are timed to plan a run by minutes


@dataclass(frozen=True)
class Running:
    """How a run is computed; nothing here changes what is computed."""

    devices: int = 1
    """Processes, each with a device of its own (or a share of the CPU)."""

    nodes: int = 1
    """Machines, each started with the same command by torchrun or a cluster."""

    accelerator: str = "auto"
    """cpu, cuda, mps; auto takes the fastest there is."""

    precision: Precision = "32-true"
    """Of the network's arithmetic; losses are in single precision."""

    compile: bool = False
    """Compile the training step first, a minute or two: half the time of a step on a GPU."""

    save_every: float = 10.0
    """Minutes between two states on disk."""

    validate_every: float = 20.0
    """Minutes between two looks at the validation pairs; there is always one at the end."""

    stop_after: float = 0.0
    """Minutes after which the run stops, to be resumed later; 0 does not stop."""

    def __post_init__(self) -> None:
        """Raises InputError for a precision that there is not."""
        if self.precision not in get_args(Precision):
            known = " or ".join(get_args(Precision))
            raise InputError(f"precision is {self.precision!r}: use {known}.")

    def fabric(self) -> Fabric:
        """The processes, started."""
        fabric = Fabric(
            accelerator=self.accelerator,
            devices=self.devices,
            num_nodes=self.nodes,
            precision="32-true",  # or LT_PRECISION would count; bf16 is up to `Objective`
            # Stage one does not reach the fusion layers.
            strategy="ddp_find_unused_parameters_true" if self.devices * self.nodes > 1 else "auto",
        )
        fabric.launch()
        return fabric


@dataclass(frozen=True)
class Outcome:
    """How a call of `train` ended."""

    model: FusionModel
    folder: Path
    step: int
    total: int
    skipped: int

    @property
    def finished(self) -> bool:
        """False if the run was interrupted and can be resumed."""
        return self.step >= self.total


def batches(recipe: Recipe, pairs: Sequence[ImagePair]) -> Crops:
    """The training batches that a recipe cuts out of pairs of grey images (1, H, W)."""
    return Crops(
        pairs,
        size=recipe.crop,
        batch=recipe.batch,
        sampling=recipe.sampling,
        stride=recipe.stride,
        min_contrast=recipe.min_contrast,
        flips=recipe.flips,
        jitter=recipe.jitter,
        dimming=recipe.dimming,
        seed=recipe.seed,
    )


def train(
    recipe: Recipe,
    batches: Batches,
    folder: Path,
    *,
    model: FusionModel | None = None,
    validation: Sequence[ImagePair] = (),
    running: Running | None = None,
    resume: bool = False,
    facts: dict[str, str] | None = None,
    quiet: bool = False,
) -> Outcome:
    """Run the stages of a recipe one after another.

    Args:
        recipe: what to compute.
        batches: where the data come from, such as `Crops`.
        folder: receives the state, the weights, and what there is to look at.
        model: the network to start from; a fresh one of the recipe by default.
        validation: pairs (1, H, W) that are not trained on.
        running: on what, and when to save.
        resume: go on from the state in `folder`; without one, start.
        facts: more for the header of the weights file, such as the data.
        quiet: no progress bar.

    Raises:
        InputError: the state does not fit, or the loss stops being a number.
    """
    running = running or Running()
    fabric = running.fabric()
    torch.manual_seed(recipe.seed)
    trainer = Trainer(
        recipe,
        model or recipe.create_model(),
        fabric,
        half=running.precision == "bf16-mixed",
        compiled=running.compile,
    )
    run = _Run(
        trainer, folder, running, Validation(validation) if validation else None, facts or {}
    )
    if resume and (folder / STATE).is_file():
        trainer.load_state(_read_state(folder / STATE))
    else:
        trainer.standing.plan = fabric.broadcast(_plan(trainer, batches))
    quiet = quiet or not fabric.is_global_zero
    standing = trainer.standing
    how = f"{running.precision} on {fabric.device.type}, torch {torch.__version__}"
    standing.computed = tuple(dict.fromkeys((*standing.computed, how)))
    with (
        TrainingLog(folder, total=standing.total, step=standing.step, quiet=quiet) as log,
        _stop_signal() as asked,
    ):
        run.follow(batches, log, asked)
    return Outcome(
        trainer.best_model.eval(), folder, standing.step, standing.total, standing.skipped
    )


class _Run:
    """The loop of `train`, and what happens between its steps."""

    def __init__(
        self,
        trainer: Trainer,
        folder: Path,
        running: Running,
        validation: Validation | None,
        facts: dict[str, str],
    ) -> None:
        self.trainer = trainer
        self.standing = trainer.standing
        self.folder = folder
        self.running = running
        self.validation = validation
        self.facts = facts

    def follow(self, batches: Batches, log: TrainingLog, asked: Callable[[], bool]) -> None:
        self.standing = standing = self.trainer.standing
        started = saved = looked = time.monotonic()
        useless = 0
        while not standing.done:
            stage = self.trainer.stage.name
            begun = time.monotonic()
            result = self.trainer.step(batches.batch(standing.step))
            now = time.monotonic()
            standing.seconds += now - begun
            useless = 0 if result.finite else useless + 1
            if result.finite:
                log.add(standing.step, stage, _numbers(result), now - begun)
            if useless >= _PATIENCE:
                self._give_up()
            over = self.running.stop_after and now - started > 60 * self.running.stop_after
            if self._agreed(asked() or bool(over)):
                break
            if self._agreed(now - looked > 60 * self.running.validate_every):
                self._look(log)
                looked = time.monotonic()
            # Not amid useless steps: the state on disk is to be a good one.
            if self._agreed(not useless and now - saved > 60 * self.running.save_every):
                self._save(log)
                saved = time.monotonic()
        self._save(log)
        if standing.done:
            self._look(log)  # minutes in which a run may be killed
            self._save(log)
            if self.trainer.fabric.is_global_zero:
                log.draw()

    def _agreed(self, wish: bool) -> bool:
        """All processes do what any of them wishes: clocks and signals differ."""
        fabric = self.trainer.fabric
        if fabric.world_size == 1:
            return wish
        wishes = fabric.all_reduce(torch.tensor(float(wish)), reduce_op="sum")
        return bool(cast(Tensor, wishes) > 0)

    def _save(self, log: TrainingLog) -> None:
        if self.trainer.fabric.is_global_zero:
            with replacing(self.folder / STATE) as temporary:
                torch.save(self.trainer.state(), temporary)
            self._save_weights(WEIGHTS)
            log.write()
        self.trainer.fabric.barrier()

    def _save_weights(self, name: str) -> None:
        facts = {
            "cddfuse.step": f"{self.standing.step} of {self.standing.total}",
            "cddfuse.computed": "; ".join(self.standing.computed),
            **self.facts,
        }
        save_weights(self.trainer.best_model, self.folder / name, facts)

    def _look(self, log: TrainingLog) -> None:
        """Losses, scores and a picture of the validation pairs; keep the weights if the best."""
        if self.validation is None:
            return
        index = min(self.standing.stage()[0], len(self.trainer.stages) - 1)
        stage, model = self.trainer.stages[index], self.trainer.best_model
        model.eval()
        losses = self.validation.losses(model, stage)
        if self.trainer.fabric.is_global_zero:
            sheet = self.folder / SHEETS / f"step-{self.standing.step:06}.png"
            scores = self.validation.look(model, sheet)
            log.add_validation(self.standing.step, stage.name, {**losses, **scores})
            last = index == len(self.trainer.stages) - 1
            if last and losses["total"] < self.standing.best:
                self.standing.best = losses["total"]
                self._save_weights(BEST)
        model.train()

    def _give_up(self) -> None:
        raise InputError(
            f"{_PATIENCE} steps in a row gave a loss or gradient that is not a number, at step "
            f"{self.standing.step}; the last good state is kept in "
            f"{self.folder / STATE}: go on from there with a lower --learning-rate."
        )


def _numbers(result: StepResult) -> dict[str, float]:
    norms = {f"norm_{part}": norm for part, norm in result.gradient_norms.items()}
    return {**result.losses, **norms, "learning_rate": result.learning_rate}


def _plan(trainer: Trainer, batches: Batches) -> tuple[int, ...]:
    """Steps of each stage. By minutes: as many as fit, from a few timed steps that are undone."""
    recipe, stages = trainer.recipe, trainer.stages
    epochs = [stage.epochs for stage in stages]
    if not recipe.minutes:
        total = recipe.steps or round(sum(epochs) * batches.steps_per_epoch)
        return _shared_out(total, epochs)
    before = trainer.state()
    kept = {name: value.clone() for name, value in before["model"].items()}
    trainer.standing.plan = tuple(_TIMED for _ in stages)
    times = []
    for _ in range(trainer.standing.total):
        begun = time.monotonic()
        trainer.step(batches.batch(trainer.standing.step))
        times.append(time.monotonic() - begun)
    trainer.load_state({**before, "model": kept})
    # The first step of each stage warms caches up and is no measure.
    seconds = [min(times[i * _TIMED : (i + 1) * _TIMED]) for i in range(len(stages))]
    mean = sum(s * e for s, e in zip(seconds, epochs, strict=True)) / sum(epochs)
    return _shared_out(max(len(stages), int(60 * recipe.minutes / mean)), epochs)


def _shared_out(total: int, epochs: Sequence[float]) -> tuple[int, ...]:
    """Share steps out in proportion; the last stage takes what rounding leaves."""
    steps = [max(1, round(total * epoch / sum(epochs))) for epoch in epochs[:-1]]
    return (*steps, max(1, total - sum(steps)))


def _read_state(path: Path) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state["standing"]["plan"] = tuple(state["standing"]["plan"])
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no state of a training run, or is damaged.") from error
    return state


@contextmanager
def _stop_signal() -> Iterator[Callable[[], bool]]:
    """Ask a run to stop between two steps: the first Ctrl-C or SIGTERM. A second one kills it."""
    caught: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        signal.signal(number, before[signal.Signals(number)])

    try:
        before = {n: signal.signal(n, note) for n in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread: nothing can be caught there
        before = {}
    try:
        yield lambda: bool(caught)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
