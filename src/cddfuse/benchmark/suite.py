"""Run a plan: every method on every data set, once. What is finished is kept and not run again."""

import os
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import Future, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

from cddfuse import io, runtime
from cddfuse.benchmark.cells import (
    BASELINE,
    Record,
    Settings,
    describe,
    has_pictures,
    key_of,
    load,
    pair_names,
    require_complete,
    results_of,
    run_cell,
    weights_for,
)
from cddfuse.benchmark.overlap import require_unseen
from cddfuse.benchmark.plan import DataSet, Method, Plan
from cddfuse.benchmark.timing import Cost, measure
from cddfuse.errors import InputError
from cddfuse.evaluate.provenance import hash_facts
from cddfuse.io.files import remove_abandoned
from cddfuse.models import MODELS
from cddfuse.models.base import FusionModel
from cddfuse.models.exported import is_exported
from cddfuse.runtime.workers import workers

_KILLED = "the process ended while it ran: is there memory enough?"
_COST_FACTS = ("model", "weights_sha256", "options", "device", "code")
"""What a cost depends on beside the machine; networks without weights differ in their name only."""


class Failure(NamedTuple):
    """What is not in the tables, or only in part."""

    data: str
    method: str
    reason: str


class Progress(NamedTuple):
    """How far a run is."""

    done: int
    total: int
    """Pairs of all cells that are to be computed."""

    doing: str


@dataclass
class Results:
    """What a run has found."""

    plan: Plan
    settings: Settings
    records: dict[tuple[str, str], Record] = field(default_factory=dict)
    """By data set and label; baselines under the label of `cells.BASELINE`."""

    failures: list[Failure] = field(default_factory=list)
    costs: dict[str, Cost] = field(default_factory=dict)
    reused: int = 0
    """Number of cells that were kept from an earlier run."""

    computed: int = 0
    """Number of cells that were to be computed."""


class _Cell(NamedTuple):
    method: Method
    data: DataSet
    facts: dict[str, Any]
    pairs: int
    path: Path


def run_plan(
    plan: Plan,
    settings: Settings,
    out: Path,
    *,
    jobs: int = 1,
    turns: int = 0,
    after: Callable[[Progress], None] = lambda progress: None,
) -> Results:
    """Score all cells of a plan. A cell that fails is recorded and the others are done.

    What makes a comparison dishonest is refused before any work: results that lack pairs, and
    networks that were trained on a data set's pairs.

    Args:
        plan: methods and data sets.
        settings: metrics and how pairs are read.
        out: the folder that cells, costs and fused images are kept in.
        jobs: cells at a time, each in a process of its own if there are several.
        turns: runs to measure the cost of each network; 0 leaves it out.
        after: called after each pair, or each cell if there are several jobs.
    """
    results = Results(plan, settings)
    _require_known(plan)
    for folder, *_ in os.walk(out):
        remove_abandoned(Path(folder))
    cells = _prepared(plan, settings, out, results)
    todo = []
    for cell in cells:
        record = Record.read(cell.path)
        if record is None or not has_pictures(record, out):
            todo.append(cell)
        else:
            _take(results, cell, record)
    results.reused, results.computed = len(cells) - len(todo), len(todo)
    total, done = sum(cell.pairs for cell in todo), 0

    def step(name: str, pairs: int = 1) -> None:
        nonlocal done
        done += pairs
        after(Progress(done, total, name))

    if todo:
        after(Progress(0, total, "start"))
    run = _in_processes if jobs > 1 else _in_turn
    run(todo, settings, out, results, step, jobs)
    if turns:
        _measure(plan, settings, out, results, turns, after)
    return results


def kept_results(plan: Plan, settings: Settings, out: Path) -> Results:
    """What earlier runs have left for a plan. Nothing is computed; what is missing is left out."""
    results = Results(plan, settings)
    _require_known(plan)
    for cell in _prepared(plan, settings, out, results):
        record = Record.read(cell.path)
        if record is not None:
            _take(results, cell, record)
    results.reused = len(results.records)
    return results


def _require_known(plan: Plan) -> None:
    """Refuse names of networks that do not exist: a slip of the pen, not a failure."""
    for method in plan.methods:
        file = method.weights and is_exported(method.weights)
        if method.results is None and method.model not in MODELS and not file:
            raise InputError(
                f"there is no network {method.model}: known are {', '.join(MODELS)}.",
                setting="models",
            )


def _prepared(plan: Plan, settings: Settings, out: Path, results: Results) -> list[_Cell]:
    """All cells with their keys; those that cannot be run are failures."""
    cells: list[_Cell] = []
    refused: dict[str, list[InputError]] = {}
    for data in plan.data:
        names = pair_names(data, settings)
        if not names:
            raise InputError(f"{data.first} has no pairs: check the folder.", setting="data")
        for method in (BASELINE, *plan.methods):
            folder, network = None, None
            if method.results is not None:
                folder = results_of(method, data, alone=len(plan.data) == 1)
                require_complete(method, data, settings, folder)
            else:
                try:
                    network = load(method, data, settings.device)
                except InputError as error:
                    results.failures.append(Failure(data.name, method.label, str(error)))
                    refused.setdefault(method.label, []).append(error)
                    continue
            facts = describe(method, data, settings, folder, network)
            require_unseen(method, data, settings, out, facts["data"])
            path = out / "cells" / f"{key_of(facts, method, data)}.json"
            cells.append(_Cell(method, data, facts, len(names), path))
    for label, errors in refused.items():
        if len(errors) == len(plan.data):  # a slip, not a data set that it is not for
            reason = str(errors[0])
            raise InputError(f"{label} cannot be run: {reason}", errors[0].setting or "models")
    return cells


def _take(results: Results, cell: _Cell, record: Record) -> None:
    results.records[cell.data.name, cell.method.label] = record
    for name, reason in record.failed.items():
        results.failures.append(Failure(cell.data.name, cell.method.label, f"{name}: {reason}"))


def _run(cell: _Cell, settings: Settings, out: Path, after: Callable[[str], None]) -> Record:
    scored: FusionModel | Path
    if cell.method.results is not None:
        scored = results_of(cell.method, cell.data, alone=True)
    else:
        scored = load(cell.method, cell.data, settings.device)
    record = run_cell(cell.method, cell.data, settings, out, cell.facts, scored, after)
    if not record.transient:
        record.write(cell.path)
    return record


def _reason(error: Exception) -> str:
    """What is said of a cell that failed; of a bug, where it is, for the others go on."""
    if isinstance(error, InputError):
        return str(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}, line {place.lineno}"
    return f"{type(error).__name__} in {where} ({error}): this is a bug, please report it."


def _in_turn(
    cells: Iterable[_Cell],
    settings: Settings,
    out: Path,
    results: Results,
    step: Callable[..., None],
    jobs: int,
) -> None:
    for cell in cells:
        label = f"{cell.data.name}, {cell.method.label}"
        try:
            record = _run(cell, settings, out, lambda name, label=label: step(label))  # type: ignore[misc]
        except Exception as error:
            results.failures.append(Failure(cell.data.name, cell.method.label, _reason(error)))
        else:
            _take(results, cell, record)


def _in_processes(
    cells: list[_Cell],
    settings: Settings,
    out: Path,
    results: Results,
    step: Callable[..., None],
    jobs: int,
) -> None:
    """Several cells at a time. If a process is killed, what it took down is tried one by one."""
    broken = _pooled(cells, settings, out, results, step, jobs)
    for cell in broken:
        for lost in _pooled([cell], settings, out, results, step, 1):
            results.failures.append(Failure(lost.data.name, lost.method.label, _KILLED))
            step(lost.method.label, lost.pairs)


def _pooled(
    cells: list[_Cell],
    settings: Settings,
    out: Path,
    results: Results,
    step: Callable[..., None],
    jobs: int,
) -> list[_Cell]:
    """Run cells in processes; returns those that a killed process took down."""
    broken: list[_Cell] = []
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with workers(jobs, _prepare, threads) as pool:
        waiting: dict[Future[Record], _Cell] = {
            pool.submit(_alone, cell, settings, out): cell for cell in cells
        }
        for future in as_completed(waiting):
            cell = waiting[future]
            try:
                _take(results, cell, future.result())
            except BrokenProcessPool:
                broken.append(cell)
                continue
            except Exception as error:
                reason = _reason(error)
                results.failures.append(Failure(cell.data.name, cell.method.label, reason))
            step(f"{cell.data.name}, {cell.method.label}", cell.pairs)
    return broken


def _prepare(threads: int) -> None:
    io.prepare_process()
    runtime.prepare_process()
    torch.set_num_threads(threads)


def _alone(cell: _Cell, settings: Settings, out: Path) -> Record:
    try:
        return _run(cell, settings, out, lambda name: None)
    except Exception as error:  # as text, for errors must survive pickling
        raise InputError(_reason(error)) from None


def _measure(
    plan: Plan,
    settings: Settings,
    out: Path,
    results: Results,
    turns: int,
    after: Callable[[Progress], None],
) -> None:
    """Cost of each network, with the weights that it has on the first data set.

    Without the limits of the run: the costs are those of the defaults.
    """
    networks: dict[str, tuple[Any, ...]] = {}
    keys: dict[str, str] = {}
    for method in plan.methods:
        found = [d for d in plan.data if (d.name, method.label) in results.records]
        if method.results is not None or not found:
            continue
        weights, task = weights_for(method, found[0])
        networks[method.label] = (
            method.model,
            task,
            weights,
            dict(method.options),
            settings.device,
        )
        facts = results.records[found[0].name, method.label].facts
        keys[method.label] = hash_facts([facts[name] for name in _COST_FACTS])
    done = 0

    def step(label: str) -> None:
        nonlocal done
        done += 1
        after(Progress(done, len(networks) * turns, f"cost of {label}"))

    results.costs, failed = measure(networks, keys, out / "costs", turns=turns, after=step)
    results.failures += [Failure("cost", label, reason) for label, reason in failed.items()]
