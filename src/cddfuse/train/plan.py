"""How many steps each stage of a run has."""

import time
from collections.abc import Sequence

from cddfuse.datasets.crops import WHOLE, Batches, Share
from cddfuse.train.trainer import Trainer

_TIMED = 3  # steps of each stage that are timed to plan a run by minutes


def plan(trainer: Trainer, batches: Batches, share: Share = WHOLE) -> tuple[int, ...]:
    """Steps of each stage. By minutes: as many as fit, from a few timed steps that are undone."""
    recipe, stages = trainer.recipe, trainer.stages
    epochs = [stage.epochs for stage in stages]
    if not recipe.minutes:
        total = recipe.steps or round(sum(epochs) * batches.steps_per_epoch)
        return _shared_out(total, epochs)
    before = trainer.snapshot()
    trainer.progress.plan = tuple(_TIMED for _ in stages)
    times = []
    for _ in range(trainer.progress.total):
        begun = time.monotonic()
        trainer.step(batches.batch(trainer.progress.step, share))
        times.append(time.monotonic() - begun)
    trainer.restore(before)
    # The first step of each stage warms up caches, and is not representative.
    seconds = [min(times[i * _TIMED : (i + 1) * _TIMED]) for i in range(len(stages))]
    mean = sum(s * e for s, e in zip(seconds, epochs, strict=True)) / sum(epochs)
    return _shared_out(max(len(stages), int(60 * recipe.minutes / mean)), epochs)


def _shared_out(total: int, epochs: Sequence[float]) -> tuple[int, ...]:
    """Share steps out in proportion; the last stage takes what rounding leaves."""
    steps = [max(1, round(total * epoch / sum(epochs))) for epoch in epochs[:-1]]
    return (*steps, max(1, total - sum(steps)))
