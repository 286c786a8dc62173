"""Run everything: prepare each input once, train for each input and seed, predict, score.

The unit of work is a network: one seed, trained on one input (or, frozen, on all that training is
to see). It predicts for the inputs that are its rows. What is finished is kept under a hash of all
that it depends on, so a run that was stopped goes on.
"""

import json
import math
import multiprocessing
import os
import queue
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import psutil
import torch

from cddfuse import io, runtime
from cddfuse.datasets.labelled import LabelledSet
from cddfuse.downstream import average_precision, instruments, overlap, yolo, yolox
from cddfuse.downstream.frames import Frames
from cddfuse.downstream.inputs import Input, Preparation, Prepared, as_files
from cddfuse.downstream.kept import arrays, record
from cddfuse.downstream.learning import Training, seconds_kept, spent, steps_within, train
from cddfuse.downstream.networks.backbone import pretrained_backbone
from cddfuse.downstream.statistics import Scored, image_weights
from cddfuse.downstream.tasks import TASKS, Name
from cddfuse.errors import InputError
from cddfuse.evaluate.provenance import hash_code, hash_facts, hash_files
from cddfuse.io import Ranges, replacing, resolve
from cddfuse.io.files import remove_abandoned
from cddfuse.models.load import find_device
from cddfuse.runtime import Limits
from cddfuse.runtime.workers import workers

Protocol = Literal["retrain", "frozen"]

_CODE = (
    "datasets/labels.py",
    "datasets/labelled.py",
    "downstream/average_precision.py",
    "downstream/frames.py",
    "downstream/intersection.py",
    "downstream/learning.py",
    "downstream/networks/backbone.py",
    "downstream/statistics.py",
    "downstream/suite.py",
    "downstream/tasks.py",
)
"""What predictions and their scores come from, beside the instrument's own file; what is written
of them does not matter."""

_KILLED = "the process ended while it trained: is there memory enough?"
_TOLD_EVERY = 5  # steps
_POLL = 0.5  # seconds


@dataclass(frozen=True)
class Plan:
    """What is run."""

    task: Name
    instrument: str
    protocol: Protocol = "retrain"
    seeds: int = 5
    steps: int | None = None
    """Of training, the same for all rows; None is what fits into the budget."""

    budget: float = 180.0
    """Seconds of processor time for one network, if there are no steps."""

    batch: int = 4
    rate: float = 2e-3
    train_on: tuple[str, ...] = ("vi", "ir")
    """Inputs that a frozen network is trained on, each image being of any of them."""

    backbone: Path | None = None
    side: int = 320
    """Longer side of the images that the instrument sees."""

    least_area: float = 0
    yolo_model: str = "yolov5nu.yaml"
    device: str = "auto"
    limits: Limits = field(default_factory=Limits)
    jobs: int = 0
    """Networks at a time, each in a process of its own; 0 is one for each core."""


class Failure(NamedTuple):
    """A row that is not in the tables."""

    label: str
    reason: str


class Progress(NamedTuple):
    """How far a run is."""

    done: int
    total: int
    doing: str
    unit: str = "steps"


@dataclass
class Results:
    """What a run has found."""

    plan: Plan
    frames: Frames
    ranges: Ranges
    """Of the sources' values, the same for all pairs."""

    rows: dict[str, dict[str, Scored]] = field(default_factory=dict)
    """By label of the input, then by measure."""

    prepared: dict[str, Prepared] = field(default_factory=dict)
    predictions: dict[str, list[Path]] = field(default_factory=dict)
    """Files of predictions by label, in the order of the seeds."""

    failures: list[Failure] = field(default_factory=list)
    training: Training = field(default_factory=lambda: Training(0))
    seconds: dict[str, float] = field(default_factory=dict)
    """Of training one network of a row, mean over seeds; those of this machine at that time."""

    facts: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    reused: int = 0
    computed: int = 0

    @property
    def labelled(self) -> LabelledSet:
        """The data set."""
        return self.frames.labelled


@dataclass(frozen=True)
class _Job:
    """A network to train, and the inputs that it predicts for."""

    plan: Plan
    frames: Frames
    training: Training
    seed: int
    sources: tuple[Prepared, ...]
    tests: tuple[Prepared, ...]
    key: str
    out: Path
    program: yolo.Yolo | None
    files: Mapping[str, Mapping[str, Path]]
    """Images as files by input, for programs that read those."""

    @cached_property
    def scenes(self) -> Sequence[str]:
        """Of the test images."""
        return self.frames.scenes(self.frames.labelled.partition.test)

    @property
    def label(self) -> str:
        """What progress calls it."""
        return f"{' + '.join(s.label for s in self.sources)}, seed {self.seed}"

    def prediction(self, test: Prepared) -> Path:
        """The file of its predictions for an input."""
        return self.out / "predictions" / f"{hash_facts([self.key, test.key])[:24]}.npz"

    def scores(self, test: Prepared) -> Path:
        """The file of their scores."""
        return self.prediction(test).with_suffix(f".{hash_facts(self.scenes)[:8]}.npz")

    @property
    def record(self) -> Path:
        """The file of what it took."""
        return self.out / "networks" / f"{self.key[:24]}.json"

    @property
    def network(self) -> Path:
        """The file of its weights."""
        return self.record.with_suffix(".safetensors")

    @property
    def checkpoint(self) -> Path:
        """The file of the state of its training."""
        return self.record.with_suffix(".pt")

    @property
    def done(self) -> bool:
        """Whether nothing is to be computed."""
        return self.record.is_file() and all(self.scores(test).is_file() for test in self.tests)


def run_plan(
    plan: Plan,
    inputs: Sequence[Input],
    labelled: LabelledSet,
    out: Path,
    *,
    ranges: Ranges | None = None,
    after: Callable[[Progress], None] = lambda progress: None,
) -> Results:
    """Fuse, train, predict and score. A row that fails is recorded and the others are done.

    Args:
        plan: what to run.
        inputs: the rows.
        labelled: the data set.
        out: the folder that everything is kept in.
        ranges: how values become [0, 1]; None is automatic, one mapping for all pairs.
        after: called as work is done.
    """
    kind = instruments.require_known(plan.task, plan.instrument)
    _require_sense(plan, kind, inputs)
    program = None
    if kind == "yolo":
        device = str(find_device(plan.device))
        program = yolo.find(plan.yolo_model, plan.side, plan.batch, device)
    if kind == "yolox":
        yolox.require_library()
    if plan.task == "detect":
        average_precision.require_extra()
    frames = Frames(labelled, plan.side, plan.least_area)
    if plan.task == "detect":
        _require_objects(frames)
    for folder, *_ in os.walk(out):
        remove_abandoned(Path(folder))
    resolved = resolve(ranges or Ranges(), list(labelled.pairs.values()))
    results = Results(plan, frames, resolved.ranges, notes=[*labelled.notes])
    if resolved.sentence:
        results.notes.append(f"{resolved.sentence}.")
    preparation = Preparation(frames, resolved.ranges, out, plan.device, plan.limits)
    results.prepared = _prepared(preparation, _wanted(plan, inputs), results, after)
    known = [each for each in inputs if each.label in results.prepared]
    results.notes += filter(None, (overlap.note(each, labelled) for each in known))
    labelled.partition.write(out / "split.txt")
    results.training = _training(plan, results, out, program)
    results.facts = _facts(results, program)
    jobs = list(_jobs(plan, inputs, results, out, program))
    todo = [job for job in jobs if not job.done]
    results.reused, results.computed = len(jobs) - len(todo), len(todo)
    failed = _run(todo, plan, after) if todo else {}
    _collect(results, inputs, jobs, failed)
    return results


def _require_sense(plan: Plan, kind: str, inputs: Sequence[Input]) -> None:
    for name, value, least in (
        ("seeds", plan.seeds, 1),
        ("steps", 1 if plan.steps is None else plan.steps, 1),
        ("batch", plan.batch, 2),
        ("jobs", plan.jobs, 0),
        ("size", plan.side, 32),
    ):
        if value < least:
            raise InputError(f"{name} is {value}: use {least} or more.", setting=name)
    if not 0 < plan.rate <= 1:
        raise InputError(f"the learning rate is {plan.rate:g}: use 0.002, for example.", "rate")
    if not 0 <= plan.least_area < math.inf:
        text = f"the least area is {plan.least_area:g}: give a number of pixels, or 0."
        raise InputError(text, "least_area")
    if not plan.budget > 0:
        raise InputError(f"the budget is {plan.budget:g} s: give more.", "budget")
    early = "early" in {each.label for each in inputs}
    if early and kind != "own":
        raise InputError(
            f"{plan.instrument} takes images of three channels: leave the input early out.",
            setting="inputs",
        )
    if plan.protocol == "frozen" and early:
        raise InputError(
            "early has four channels, and a frozen network was trained on images of three: leave "
            "it out, or retrain.",
            setting=("inputs", "protocol"),
        )
    if plan.backbone and not instruments.takes_backbone(plan.instrument):
        raise InputError(f"{plan.instrument} takes no backbone: leave it out.", "backbone")
    if plan.backbone:
        pretrained_backbone(plan.backbone, 3)
    if kind == "yolo" and plan.steps is None:
        raise InputError("yolo needs a number of steps, not a time.", "steps")
    for setting, given, used, why in (
        ("rate", plan.rate, kind != "yolo", "yolo has a learning rate of its own"),
        ("yolo_model", plan.yolo_model, kind == "yolo", f"{plan.instrument} is no model of yolo"),
        ("train_on", plan.train_on, plan.protocol == "frozen", "each input is trained on itself"),
    ):
        if not used and given != getattr(Plan, setting):
            raise InputError(f"{why}: leave that out.", setting)


def _require_objects(frames: Frames) -> None:
    """Every class needs some that count, as in `open_labelled`, which knows of no least area."""
    for part in ("train", "test"):
        names = getattr(frames.labelled.partition, part)
        here = {b.label for name in names for b in frames.boxes(name) if not b.ignored}
        for index, name in enumerate(frames.classes):
            if index not in here:
                raise InputError(
                    f"no object of the class {name} in the {part} part has {frames.least_area:g} "
                    "pixels: give a smaller least area, or map the class to nothing.",
                    setting=("least_area", "map"),
                )


def _wanted(plan: Plan, inputs: Sequence[Input]) -> list[Input]:
    """The rows, and what a frozen network is trained on beside them."""
    known = {each.label: each for each in inputs}
    if plan.protocol == "frozen":
        for name in plan.train_on:
            if name not in known:
                if name not in ("vi", "ir"):
                    raise InputError(
                        f"there is no input {name} to train on: name it among the inputs.",
                        setting="train_on",
                    )
                known[name] = Input(name, "source")
    return list(known.values())


def _prepared(
    preparation: Preparation,
    inputs: Sequence[Input],
    results: Results,
    after: Callable[[Progress], None],
) -> dict[str, Prepared]:
    found, total, done = {}, len(inputs) * len(preparation.pairs), 0
    for place, given in enumerate(inputs):

        def step(name: str, label: str = given.label) -> None:
            nonlocal done
            done += 1
            after(Progress(min(done, total), total, f"prepare {label}", "images"))

        try:
            found[given.label] = preparation.make(given, step)
        except InputError as error:
            if given.kind != "network":  # a slip of the user's: nothing has been trained yet
                raise
            results.failures.append(Failure(given.label, str(error)))
        done = (place + 1) * len(preparation.pairs)
        after(Progress(done, total, f"prepare {given.label}", "images"))
    if not found:
        raise InputError(f"no input could be prepared: {results.failures[0].reason}", "inputs")
    for failure in results.failures:
        if results.plan.protocol == "frozen" and failure.label in results.plan.train_on:
            raise InputError(f"{failure.label} cannot be trained on: {failure.reason}", "train_on")
    return found


def _training(plan: Plan, results: Results, out: Path, program: yolo.Yolo | None) -> Training:
    """Steps, the same for all rows; those of a budget are measured once and kept."""
    if plan.steps is not None or program:
        return Training(plan.steps or 1, plan.batch, plan.rate)
    kept = out / "budget.json"
    key = hash_facts(
        [plan.budget, plan.instrument, plan.batch, results.frames.canvas, str(plan.backbone)]
    )
    known: dict[str, int] = {}
    with suppress(OSError, ValueError):  # not there, or damaged
        known = json.loads(kept.read_text(encoding="utf-8"))
    if key not in known:
        first = next(iter(results.prepared.values()))
        known[key] = steps_within(
            plan.budget,
            _network(plan, first.channels, results.frames, 0),
            [first.open()],
            _task(plan, results.frames),
            Training(1, plan.batch, plan.rate),
            find_device(plan.device),
        )
        with replacing(kept) as temporary:
            temporary.write_text(json.dumps(known), encoding="utf-8")
    return Training(known[key], plan.batch, plan.rate)


def _task(plan: Plan, frames: Frames) -> Any:
    if plan.instrument == "yolox":
        return yolox.Detection(frames)
    return TASKS[plan.task](frames)


def _network(plan: Plan, channels: int, frames: Frames, seed: int) -> torch.nn.Module:
    classes = len(frames.classes)
    if plan.instrument == "yolox":
        return yolox.build(classes, seed)
    return instruments.build(plan.instrument, channels, classes, seed, plan.backbone)


def _facts(results: Results, program: yolo.Yolo | None) -> dict[str, Any]:
    """What all networks have in common."""
    plan, frames = results.plan, results.frames
    labelled = frames.labelled
    labels: Any = (
        {name: [list(box) for box in labelled.boxes[name]] for name in frames.names}
        if labelled.kind == "boxes"
        else hash_files(labelled.maps[name] for name in frames.names)
    )
    return {
        "task": plan.task,
        "instrument": plan.instrument,
        "classes": list(frames.classes),
        "labels": hash_facts(labels),
        "partition": labelled.partition.digest,
        "side": plan.side,
        "canvas": list(frames.canvas),
        "least_area": plan.least_area,
        "training": [results.training.steps, results.training.batch, results.training.rate],
        "backbone": hash_files([plan.backbone]) if plan.backbone else "",
        "program": program.description if program else "",
        "library": f"libreyolo {yolox.library_version()}" if plan.instrument == "yolox" else "",
        "device": "" if program else find_device(plan.device).type,
        "torch": version("torch"),
        "code": hash_code((*_CODE, instruments.code(plan.task, plan.instrument))),
    }


def _jobs(
    plan: Plan,
    inputs: Sequence[Input],
    results: Results,
    out: Path,
    program: yolo.Yolo | None,
) -> Iterator[_Job]:
    rows = [results.prepared[each.label] for each in inputs if each.label in results.prepared]
    files: dict[str, Mapping[str, Path]] = {}
    if program:
        pairs = [results.labelled.pairs[name] for name in results.frames.names]
        for each in results.prepared.values():
            files[each.label] = as_files(each, pairs, results.ranges, out)
    for seed in range(plan.seeds):
        groups: list[tuple[tuple[Prepared, ...], tuple[Prepared, ...]]]
        groups = [((row,), (row,)) for row in rows]
        if plan.protocol == "frozen":
            groups = [(tuple(results.prepared[name] for name in plan.train_on), tuple(rows))]
        for sources, tests in groups:
            key = hash_facts([results.facts, seed, [source.key for source in sources]])
            yield _Job(
                plan,
                results.frames,
                results.training,
                seed,
                sources,
                tests,
                key,
                out,
                program,
                files,
            )


def _run(todo: Sequence[_Job], plan: Plan, after: Callable[[Progress], None]) -> dict[str, str]:
    """Work through jobs; returns reasons of failures by key."""
    total = sum(job.training.steps for job in todo)
    done: dict[str, int] = {}

    def step(key: str, label: str, count: int) -> None:
        done[key] = count
        after(Progress(sum(done.values()), total, label))

    count = min(plan.jobs or _default_jobs(plan), len(todo))
    after(Progress(0, total, "train"))
    if count == 1:
        return _in_turn(todo, step)
    failed = _in_processes(todo, count, step)
    for job in [job for job in todo if failed.get(job.key) == _KILLED]:
        del failed[job.key]
        failed |= _in_processes([job], 1, step)
    return failed


def _default_jobs(plan: Plan) -> int:
    if plan.instrument == "yolo" or find_device(plan.device).type != "cpu":
        return 1
    if sys.platform == "linux":
        return len(psutil.Process().cpu_affinity() or [0])
    return os.cpu_count() or 1


_Step = Callable[[str, str, int], None]


def _in_turn(todo: Sequence[_Job], step: _Step) -> dict[str, str]:
    failed = {}
    for job in todo:
        try:
            _work(job, lambda count, job=job: step(job.key, job.label, count))  # type: ignore[misc]
        except InputError as error:
            failed[job.key] = str(error)
        step(job.key, job.label, job.training.steps)
    return failed


def _in_processes(todo: Sequence[_Job], count: int, step: _Step) -> dict[str, str]:
    """Several at a time. If a process is killed, all that was not done has failed with it."""
    failed: dict[str, str] = {}
    threads = max(1, _default_threads() // count)
    told: Any = multiprocessing.get_context("spawn").Queue()
    with workers(count, _prepare_worker, threads, told) as pool:
        running: dict[Future[None], _Job] = {pool.submit(_alone, job): job for job in todo}
        while running:
            finished, _ = wait(running, _POLL, FIRST_COMPLETED)
            _listen(told, step)
            for future in finished:
                job = running.pop(future)
                try:
                    future.result()
                except BrokenProcessPool:
                    failed[job.key] = _KILLED
                except InputError as error:
                    failed[job.key] = str(error)
                step(job.key, job.label, job.training.steps)
    return failed


def _default_threads() -> int:
    return os.cpu_count() or 1


def _listen(told: Any, step: _Step) -> None:
    while True:
        try:
            step(*told.get_nowait())
        except queue.Empty:
            return


_told: Any = None
"""In a worker: the queue that it tells its progress by."""


def _prepare_worker(threads: int, told: Any) -> None:
    global _told
    io.prepare_process()
    runtime.prepare_process()
    torch.set_num_threads(threads)
    _told = told


def _alone(job: _Job) -> None:
    def after(count: int) -> None:
        if count % _TOLD_EVERY == 0:
            _told.put((job.key, job.label, count))

    try:
        _work(job, after)
    except InputError as error:  # its setting is not needed, and errors must survive pickling
        raise InputError(str(error)) from None


def _work(job: _Job, after: Callable[[int], None]) -> None:
    """Train, predict and score, as far as that was not done."""
    task = _task(job.plan, job.frames)
    start = spent() - _seconds_before(job)
    if job.program:
        missing = [test for test in job.tests if not job.prediction(test).is_file()]
        for test, found in _by_program(job, missing):
            task.save(job.prediction(test), found)
    else:
        _by_network(job, task, start, after)
    weights = image_weights(job.scenes)
    for test in job.tests:
        if job.scores(test).is_file():
            continue
        found = task.load(job.prediction(test))
        values, resampled = task.score(found), task.score(found, weights)
        with replacing(job.scores(test)) as temporary:
            content = {f"values {m}": values[m] for m in task.measures}
            content |= {f"resampled {m}": resampled[m] for m in task.measures}
            np.savez_compressed(temporary, **content)
    if not job.record.is_file():
        content = {
            "seed": job.seed,
            "trained_on": [source.label for source in job.sources],
            "seconds": spent() - start,
        }
        with replacing(job.record) as temporary:
            temporary.write_text(json.dumps(content), encoding="utf-8")


def _seconds_before(job: _Job) -> float:
    """Processor time of runs that were stopped, as far as the network was kept."""
    known = instruments.facts_of(job.network).get("seconds")
    return float(known) if known else seconds_kept(job.checkpoint)


def _by_network(job: _Job, task: Any, start: float, after: Callable[[int], None]) -> None:
    missing = [test for test in job.tests if not job.prediction(test).is_file()]
    if not missing:
        return
    device = find_device(job.plan.device)
    network = _network(job.plan, job.sources[0].channels, job.frames, job.seed)
    if not (job.network.is_file() and instruments.restore(network, job.network)):
        images = [source.open() for source in job.sources]
        network = train(
            network,
            images,
            task,
            job.training,
            job.seed,
            device=device,
            checkpoint=job.checkpoint,
            after=after,
        )
        facts = {
            "instrument": job.plan.instrument,
            "classes": json.dumps(job.frames.classes),
            "key": job.key,
            "seconds": str(spent() - start),
        }
        instruments.save(network, job.network, facts)
    network.to(device)
    for test in missing:
        task.save(job.prediction(test), task.predict(network, test.open(), device))


def _by_program(job: _Job, missing: Sequence[Prepared]) -> Iterator[tuple[Prepared, Any]]:
    program, frames = job.program, job.frames
    assert program is not None
    parts = frames.labelled.partition
    project = job.record.with_suffix("").resolve()
    data = project / "data"

    def rows(sources: Sequence[Prepared], names: Sequence[str]) -> list[Any]:
        return [
            (
                f"{place}_{frames.places([name])[0]:06}",
                job.files[source.label][name],
                [b for b in frames.labelled.boxes[name] if b.area >= frames.least_area],
                frames.labelled.sizes[name],
            )
            for place, source in enumerate(sources)
            for name in names
        ]

    def written(folder: Path, tests: Sequence[Prepared]) -> list[Any]:
        test = rows(tests, parts.test)
        # Without validation images, the program is given those to test on, and told not to look.
        images = {"train": rows(job.sources, parts.train), "val": test, "test": test}
        yolo.write_data_set(folder, images, frames.classes)
        return test

    written(data, job.sources)
    shown = len(job.sources) * len(parts.train)  # in an epoch
    epochs = max(1, -(-job.training.steps * program.batch // shown))
    weights = program.train(data, project, job.seed, epochs) if missing else None
    for place, test in enumerate(missing):
        folder = project / f"data_{place}"
        names = written(folder, [test])
        sizes = [size for *_, size in names]
        found = program.predict(weights, folder, project, [name for name, *_ in names], sizes)  # type: ignore[arg-type]
        yield test, found


def _collect(
    results: Results, inputs: Sequence[Input], jobs: Sequence[_Job], failed: Mapping[str, str]
) -> None:
    """Scores of all rows whose seeds are all there."""
    measures = TASKS[results.plan.task].measures
    for given in inputs:
        if given.label not in results.prepared:
            continue
        row = results.prepared[given.label]
        mine = [job for job in jobs if any(test.label == given.label for test in job.tests)]
        reasons = [failed[job.key] for job in mine if job.key in failed]
        if reasons:
            count = (
                f"{len(reasons)} of {len(mine)} seeds failed, such as: " if len(mine) > 1 else ""
            )
            results.failures.append(Failure(given.label, count + reasons[0]))
            continue
        loaded = [arrays(job.scores(row)) for job in mine]
        results.rows[given.label] = {
            measure: Scored(
                np.stack([content[f"values {measure}"][0] for content in loaded]),
                np.stack([content[f"resampled {measure}"] for content in loaded]),
            )
            for measure in measures
        }
        results.predictions[given.label] = [job.prediction(row) for job in mine]
        records = [record(job.record) for job in mine]
        results.seconds[given.label] = sum(r["seconds"] for r in records) / len(records)
