"""Train the variants: one recipe, one seed, one budget, the same pairs. Each run can be resumed."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from safetensors import SafetensorError, safe_open

from cddfuse.ablation.variants import VARIANTS, Variant
from cddfuse.benchmark.cells import Settings, open_pairs, pair_names
from cddfuse.benchmark.plan import DataSet
from cddfuse.datasets.base import Reader
from cddfuse.errors import InputError, some_of
from cddfuse.io.image_files import ImagePairs
from cddfuse.recipes.cddfuse import CDDFuseRecipe
from cddfuse.recipes.choice import Choice, Request
from cddfuse.recipes.settings import merged, plain
from cddfuse.train import WEIGHTS, Running, batches
from cddfuse.train import train as follow
from cddfuse.train.data import DataRequest, FileRecord, RunData, Say
from cddfuse.train.start import RECIPE, prepare


@dataclass(frozen=True)
class Prepared:
    """A variant whose run has a folder, a recipe and pairs."""

    variant: Variant
    folder: Path
    choice: Choice
    pairs: RunData

    @property
    def recipe(self) -> CDDFuseRecipe:
        """With all settings."""
        return cast(CDDFuseRecipe, self.choice.recipe)

    @property
    def weights(self) -> Path:
        """What the run leaves."""
        return self.folder / WEIGHTS


@dataclass(frozen=True)
class Trained:
    """A variant whose run has ended."""

    prepared: Prepared
    steps: int


def prepare_all(
    variants: Sequence[Variant],
    request: Request,
    data: DataRequest,
    out: Path,
    reader: Reader,
    say: Say,
) -> list[Prepared]:
    """Resolve the recipe and the pairs of every variant, before hours of training.

    Args:
        variants: of `variants.VARIANTS`.
        request: the full recipe, with the budget and the seed.
        data: the pairs to train on, the same for all.
        out: holds a folder for each run.
        reader: decodes pairs.
        say: told what is left out.

    Raises:
        InputError: a run that is there already has another recipe or other pairs.
    """
    found = []
    for variant in variants:
        folder = out / variant.name
        asked = replace(request, settings=merged(request.settings, variant.settings))
        choice, pairs = prepare(folder, asked, data, reader, resume=True, say=say)
        found.append(Prepared(variant, folder, choice, pairs))
        say = _silent  # the pairs of the others are the same
    _require_alike(found)
    return found


def _silent(what: str | InputError) -> None:
    pass


def _require_alike(runs: Sequence[Prepared]) -> None:
    """Refuse runs that differ in more than their variants, as after a change of the budget."""
    own = {name for variant in VARIANTS.values() for name in variant.settings}
    shared = [
        {name: value for name, value in plain(run.recipe).items() if name not in own}
        for run in runs
    ]
    for run, settings in zip(runs, shared, strict=True):
        for name, value in settings.items():
            if value != shared[0][name]:
                raise InputError(
                    f"the run {run.folder} has {name} {value}, not {shared[0][name]} as "
                    f"{runs[0].variant.name}: name the settings of the runs that are there, or "
                    "choose another folder.",
                    setting="output",
                )
        if run.pairs.train != runs[0].pairs.train:
            raise InputError(
                f"the run {run.folder} has other pairs than {runs[0].variant.name}: choose another "
                "folder.",
                setting="output",
            )


def require_unseen(prepared: Prepared, sets: Iterable[DataSet], settings: Settings) -> None:
    """Refuse to score on files that were trained or validated on, under any name."""
    records = [*prepared.pairs.train, *prepared.pairs.val]
    known = {file.sha256 for record in records for file in (record.first, record.second)}
    for data in sets:
        if not isinstance(open_pairs(data, settings), ImagePairs):
            continue  # frames and slices are no files of their own
        pairs = pair_names(data, settings)
        seen = [
            pair.name
            for pair in pairs
            if {FileRecord.of(path).sha256 for path in (pair.first, pair.second)} & known
        ]
        if seen:
            shown = some_of(seen)
            raise InputError(
                f"{len(seen)} of {len(pairs)} pairs of {data.name} ({shown}) are among the pairs "
                "to train on: leave them out of one.",
                setting="data",
            )


def train_all(
    runs: Sequence[Prepared],
    reader: Reader,
    running: Running,
    *,
    quiet: bool,
    say: Callable[[str], None],
) -> list[Trained]:
    """Train one variant after another; those that have ended are not trained again.

    Returns those that have ended: fewer than `runs` after Ctrl-C, upon which the state is saved.
    """
    found: list[Trained] = []
    for run in runs:
        if steps := _steps_done(run.weights):
            say(f"{run.variant.name}: kept from an earlier run, {steps} steps")
            found.append(Trained(run, steps))
            continue
        reader.resize, reader.ranges = run.pairs.resize, run.pairs.ranges
        train = run.pairs.folder(run.pairs.train, reader)
        val = run.pairs.folder(run.pairs.val, reader)
        outcome = follow(
            run.recipe,
            batches(run.recipe, train, run.pairs.kept),
            run.folder,
            validation=val,
            running=running,
            resume=True,
            facts={"cddfuse.recipe": (run.folder / RECIPE).read_text(encoding="utf-8")},
            quiet=quiet,
        )
        if not outcome.finished:
            break
        left_out = f", {outcome.skipped} left out: not a number" if outcome.skipped else ""
        say(f"{run.variant.name}: trained {outcome.total} steps{left_out}")
        found.append(Trained(run, outcome.total))
    return found


def _steps_done(weights: Path) -> int:
    """Number of steps of a run that has ended; 0 of others."""
    try:
        with safe_open(weights, "pt") as file:
            done, _, total = (file.metadata() or {}).get("cddfuse.step", "").partition(" of ")
    except (OSError, SafetensorError):
        return 0
    return int(done) if done and done == total else 0
