"""Follow a recipe, stop and resume at any time, and leave behind what there is to look at.

The only package that knows Lightning Fabric.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray

from cddfuse.datasets.crops import Batches, Crops
from cddfuse.models import FusionModel
from cddfuse.pair import ImagePair
from cddfuse.recipes import Recipe
from cddfuse.train.log import TrainingLog
from cddfuse.train.loop import BEST, SHEETS, STATE, WEIGHTS, Outcome, Run, load_state, stop_signal
from cddfuse.train.plan import plan
from cddfuse.train.running import Precision, Running, alone, leading, share
from cddfuse.train.trainer import Trainer
from cddfuse.train.validation import Validation

__all__ = [
    "BEST",
    "SHEETS",
    "STATE",
    "WEIGHTS",
    "Outcome",
    "Precision",
    "Running",
    "batches",
    "leading",
    "train",
]


def batches(
    recipe: Recipe, pairs: Sequence[ImagePair], kept: NDArray[np.bool_] | None = None
) -> Crops:
    """The training batches that a recipe cuts out of pairs of grey images (1, H, W).

    Args:
        recipe: what to compute.
        pairs: such as `PairFolder`.
        kept: which crops on the grid have enough contrast, where that is known already.
    """
    return Crops(
        pairs,
        size=recipe.crop,
        batch=recipe.batch,
        sampling=recipe.sampling,
        stride=recipe.stride,
        min_contrast=recipe.min_contrast,
        flips=recipe.flips,
        jitter=recipe.jitter,
        darken=recipe.darken,
        haze=recipe.haze,
        cameras=recipe.cameras,
        cycle=recipe.cycle,
        multiple=recipe.network.card.multiple_of,
        seed=recipe.seed,
        kept=kept,
    )


def train(
    recipe: Recipe,
    batches: Batches,
    folder: Path,
    *,
    model: FusionModel | None = None,
    validation: Sequence[ImagePair] = (),
    running: Running | None = None,
    fabric: Fabric | None = None,
    resume: bool = False,
    facts: dict[str, str] | None = None,
    claimed: bool = False,
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
        fabric: the processes of `running`, where they have been started already.
        resume: go on from the state in `folder`; without one, start.
        facts: more for the header of the weights file, such as the data.
        claimed: the caller keeps other runs out of the folder.
        quiet: no progress bar.

    Raises:
        InputError: another run is at work in the folder, the state does not fit, pairs cannot be
            read any more, or the loss stops being a number.
    """
    running = running or Running()
    fabric = fabric or running.fabric()
    torch.manual_seed(recipe.seed)
    trainer = Trainer(
        recipe,
        model or recipe.create_model(),
        fabric,
        half=running.precision == "bf16-mixed",
        compiled=running.compile,
        accumulate=running.accumulate,
        log_terms=running.log_terms,
    )
    multiple = trainer.model.card.multiple_of
    looks = Validation(validation, running.log_terms, multiple) if validation else None
    run = Run(trainer, folder, running, looks, facts or {})
    with nullcontext() if claimed else alone(folder, fabric):
        if resume and (folder / STATE).is_file():
            load_state(trainer, folder / STATE)
        else:
            trainer.progress.plan = fabric.broadcast(plan(trainer, batches, share(fabric)))
            run.save_state()
        quiet = quiet or not fabric.is_global_zero
        progress = trainer.progress
        several = f" in {fabric.world_size} processes" if fabric.world_size > 1 else ""
        how = f"{running.precision} on {fabric.device.type}{several}, torch {torch.__version__}"
        progress.computed = tuple(dict.fromkeys((*progress.computed, how)))
        with (
            TrainingLog(folder, total=progress.total, step=progress.step, quiet=quiet) as log,
            stop_signal() as asked,
        ):
            run.follow(batches, log, asked)
    return Outcome(
        trainer.best_model.eval(), folder, progress.step, progress.total, progress.skipped
    )
