"""The loop over the steps of a run, and what it leaves in the run's folder."""

import pickle
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import cast

import torch
from torch import Tensor

from cddfuse.datasets.crops import Batches
from cddfuse.errors import InputError
from cddfuse.io.files import replacing
from cddfuse.models import FusionModel, save_weights
from cddfuse.train.log import TrainingLog
from cddfuse.train.running import Running, share
from cddfuse.train.trainer import RunProgress, StepResult, Trainer
from cddfuse.train.validation import Validation

STATE, WEIGHTS, BEST, SHEETS = "state.pt", "weights.safetensors", "best.safetensors", "validation"
_PATIENCE = 20  # steps in a row without a number to learn from, before a run is given up
# What Fabric and PyTorch raise for a file that does not fit.
_UNFIT = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    OSError,
    AttributeError,
    KeyError,
    TypeError,
    ValueError,
)


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


class Run:
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
        self.share = share(trainer.fabric)
        self.folder = folder
        self.running = running
        self.validation = validation
        self.facts = facts

    def follow(self, batches: Batches, log: TrainingLog, asked: Callable[[], bool]) -> None:
        """Take all steps that are left, unless the run is asked to stop."""
        progress = self.progress
        started = saved = looked = time.monotonic()
        useless = 0
        while not progress.done:
            stage = self.trainer.stage.name
            begun = time.monotonic()
            result = self._step(batches, log)
            now = time.monotonic()
            progress.seconds += now - begun
            useless = 0 if result.finite else useless + 1
            if result.finite:
                log.add(progress.step, stage, _numbers(result), now - begun)
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
        if progress.done:
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

    @property
    def progress(self) -> RunProgress:
        """How far the run has come."""
        return self.trainer.progress

    def _step(self, batches: Batches, log: TrainingLog) -> StepResult:
        """Take a step; the run is saved if its batch cannot be read, or a teacher cannot work."""
        try:
            batch = batches.batch(self.progress.step, self.share)
        except InputError as error:
            raise self._saved(error, log, "once the data are as they were") from error
        try:
            return self.trainer.step(batch)
        except InputError as error:
            if self.share.count > 1:  # the others know nothing of it, and cannot save with this one
                raise
            raise self._saved(error, log, "once that is put right") from error

    def _saved(self, error: InputError, log: TrainingLog, condition: str) -> InputError:
        """Save the run; the error that says so."""
        self._save(log)
        text, step = str(error).removesuffix("."), self.progress.step
        return InputError(
            f"{text}; the run is saved at step {step} and can be resumed {condition}.",
            setting=error.setting,
        )

    def _save(self, log: TrainingLog) -> None:
        self.save_state()
        if self.trainer.fabric.is_global_zero:
            self._save_weights(WEIGHTS)
            log.write()
        self.trainer.fabric.barrier()

    def save_state(self) -> None:
        """Write everything needed to resume; the file is replaced as a whole."""
        fabric = self.trainer.fabric
        with replacing(self.folder / STATE) if fabric.is_global_zero else nullcontext() as path:
            # Every process saves, under the name that the first one has chosen.
            self.trainer.save(cast(Path, fabric.broadcast(path)))
        fabric.barrier()

    def _save_weights(self, name: str) -> None:
        facts = {
            "cddfuse.step": f"{self.progress.step} of {self.progress.total}",
            "cddfuse.computed": "; ".join(self.progress.computed),
            **self.facts,
        }
        save_weights(self.trainer.best_model, self.folder / name, facts)

    def _look(self, log: TrainingLog) -> None:
        """Losses, scores and a picture of the validation pairs; keep the weights if the best."""
        if self.validation is None:
            return
        index = min(self.progress.stage()[0], len(self.trainer.stages) - 1)
        stage, model = self.trainer.stages[index], self.trainer.best_model
        model.eval()
        losses = self.validation.losses(model, stage)
        if self.trainer.fabric.is_global_zero:
            sheet = self.folder / SHEETS / f"step-{self.progress.step:06}.png"
            scores = self.validation.look(model, sheet)
            log.add_validation(self.progress.step, stage.name, {**losses, **scores})
            last = index == len(self.trainer.stages) - 1
            if last and losses["total"] < self.progress.best:
                self.progress.best = losses["total"]
                self._save_weights(BEST)
        model.train()

    def _give_up(self) -> None:
        raise InputError(
            f"{_PATIENCE} steps in a row gave a loss or gradient that is not a number, at step "
            f"{self.progress.step}; the last good weights are kept in {self.folder / WEIGHTS}: "
            "start another run from them with a lower learning rate.",
            setting="learning_rate",
        )


def _numbers(result: StepResult) -> dict[str, float]:
    norms = {f"norm_{part}": norm for part, norm in result.gradient_norms.items()}
    return {**result.losses, **norms, "learning_rate": result.learning_rate}


def load_state(trainer: Trainer, path: Path) -> None:
    """Go back to where a run was saved."""
    try:
        trainer.load(path)
    except InputError:
        raise
    except _UNFIT as error:
        raise InputError(
            f"{path} is not the state of a training run, or is damaged, or comes from another "
            "version of cddfuse."
        ) from error


@contextmanager
def stop_signal() -> Iterator[Callable[[], bool]]:
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
