"""Fuse a folder on many machines with Ray: workers hold the network and are sent paths.

The machines share the disk of the sources and results. A worker that dies, with its machine or
alone, loses what it was fusing; others do that again, and results that exist are kept.
"""

import logging
import os
import platform
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

import cddfuse
from cddfuse import io, runtime
from cddfuse.errors import InputError
from cddfuse.io.folders import PairedPaths
from cddfuse.io.formats import Writing, open_sink
from cddfuse.io.image_files import ImageFiles, ImagePairs
from cddfuse.models.base import FusionModel
from cddfuse.pipeline import Options, Summary, fuse_all
from cddfuse.scale.key import NAME, facts_of, fingerprint, require_same

_BLOCK = 32  # pairs that a worker is sent at once
_AHEAD = 4  # blocks for each worker, at least, so that all end at about the same time
_TRIES = 3  # deaths of workers over one pair, before it counts as failed
_DEATHS = 5  # of each worker, before any is ready
_CHECKED = 4  # blocks whose alignment is looked at
_STORE = 100 * 2**20  # bytes for objects of Ray; paths need little
# Ray gives its workers the lowest priority by default, so that they starve on busy machines.
# Its agents have half a minute to start, which is too short there too.
_SETTINGS = {
    "RAY_worker_niceness": "0",
    "RAY_agent_register_timeout_ms": "240000",
    "RAY_USAGE_STATS_ENABLED": "0",
}


@dataclass(frozen=True)
class Cluster:
    """Where workers run."""

    workers: int = 2
    address: str | None = None
    """Of a cluster that runs, or `auto`; None starts one on this machine."""

    cpus: int = 1
    """Of each worker, which computes with as many threads."""

    gpus: float = 0
    """Of each worker."""

    patience: float = 600.0
    """Seconds without any news after which workers count as dead."""


@dataclass
class Merged(Summary):
    """What became of all pairs."""

    machines: Counter[str] = field(default_factory=Counter)
    """Pairs done by name of machine and number of its node."""

    lost: int = 0
    """Workers that died."""

    notes: list[str] = field(default_factory=list)


class Task(NamedTuple):
    """What every worker is told once."""

    load: Callable[[], FusionModel]
    """Loads the network; can be pickled."""

    template: ImagePairs
    """Without pairs."""

    writing: Writing
    options: Options
    threads: int
    version: str
    network: str
    """Fingerprint of what `load` has to give."""


class _Block(NamedTuple):
    pairs: Sequence[PairedPaths]
    check: bool
    tries: int = 0


class Worker:
    """Fuses blocks of pairs in a process of its own."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def prepare(self) -> str:
        """Load the network; returns the name of the node.

        Raises:
            InputError: this machine cannot do the job.
        """
        task, machine = self._task, platform.node()
        io.prepare_process()
        runtime.prepare_process()
        torch.set_num_threads(task.threads)
        if cddfuse.__version__ != task.version:
            raise InputError(
                f"{machine} has cddfuse {cddfuse.__version__}, not {task.version}: install the "
                "same there."
            )
        if not os.path.exists(task.writing.output / NAME):
            raise InputError(
                f"{machine} does not see {task.writing.output}: choose a folder on a disk that all "
                "machines share.",
                setting="output",
            )
        self._model = task.load()
        if fingerprint(self._model) != task.network:
            raise InputError(
                f"{machine} has other weights of {self._model.card.name}: install the same there, "
                "or name a file on the shared disk.",
                setting="weights",
            )
        self._sink = open_sink(task.template, task.writing)
        return f"{machine}/{_node_id()}"

    def fuse(self, pairs: Sequence[PairedPaths], check: bool) -> Summary:
        """Fuse a block; a pair that fails does not stop it."""
        options = replace(self._task.options, check=check)
        try:
            return self._fused(pairs, options)
        except Exception as error:
            if len(pairs) == 1:
                text = f"cannot fuse {pairs[0].first} and {pairs[0].second} ({error!r})."
                return Summary(failed={pairs[0].name: InputError(text)})
        merged = Summary()
        for pair in pairs:
            merge(merged, self.fuse([pair], check=False))
        return merged

    def _fused(self, pairs: Sequence[PairedPaths], options: Options) -> Summary:
        source = replace(self._task.template, pairs=list(pairs))
        return fuse_all(self._model, source, self._sink, options)


def merge(whole: Summary, part: Summary) -> None:
    """Add what became of some entries."""
    whole.done += part.done
    whole.kept += part.kept
    whole.failed |= part.failed
    whole.misaligned |= part.misaligned
    whole.checked += part.checked


def fuse_on_ray(
    load: Callable[[], FusionModel],
    source: ImagePairs,
    sink: ImageFiles,
    writing: Writing,
    options: Options | None = None,
    cluster: Cluster | None = None,
    *,
    after: Callable[[str], None] = lambda name: None,
) -> Merged:
    """Fuse all pairs of a source, as `fuse_all` does. Results that exist are kept.

    Args:
        load: gives the network, here and in workers; can be pickled.
        source: the pairs, with a resolved range.
        sink: what `open_sink` makes of `writing`.
        writing: where results go: a folder that all machines see.
        options: how to fuse.
        cluster: where.
        after: called with the name of each pair that is done, kept or failed.

    Raises:
        InputError: no machine can do the job, or results there are of another one.
    """
    cluster, options, begun = cluster or Cluster(), options or Options(), time.monotonic()
    if options.limits:  # who watches an image is in this process
        options = replace(options, limits=replace(options.limits, progress=None))
    model = load()
    facts = facts_of(model, source, writing, options)
    require_same(writing.output, facts, overwrite=writing.overwrite)
    merged = Merged()
    there = set() if writing.overwrite else _files(writing.output)
    todo = []
    for pair in source.own:
        if str(sink.path(pair.name)) in there and sink.has(pair.name):
            merged.kept.append(pair.name)
            after(pair.name)
        else:
            todo.append(pair)
    if todo:
        template = replace(source, pairs=(), shard=None, skipped=(), notes=())
        threads, network = cluster.cpus, facts["network"]
        task = Task(load, template, writing, options, threads, cddfuse.__version__, network)
        with _connected(cluster) as ray:
            pool = _Pool(ray, cluster, task, _blocks(todo, cluster.workers, options.check))
            for part, machine in pool.results():
                merge(merged, part)
                merged.machines[machine] += len(part.done)
                for name in (*part.done, *part.kept, *part.failed):
                    after(name)
            merged.lost, merged.notes = pool.lost, pool.notes
    merged.seconds = time.monotonic() - begun
    return merged


def _files(folder: Path) -> set[str]:
    """All files below a folder, in one pass: faster than to ask for a million."""
    return {os.path.join(place, name) for place, _, names in os.walk(folder) for name in names}


def _blocks(pairs: Sequence[PairedPaths], workers: int, check: bool) -> list[_Block]:
    """Pairs in blocks. The alignment of a few blocks is looked at, evenly spaced."""
    size = max(1, min(_BLOCK, len(pairs) // (workers * _AHEAD)))
    starts = range(0, len(pairs), size)
    every = max(1, len(starts) // _CHECKED)
    return [
        _Block(pairs[start : start + size], check and number % every == 0)
        for number, start in enumerate(starts)
    ]


class _Pool:
    """Workers, and the blocks that they have not done yet."""

    def __init__(self, ray: Any, cluster: Cluster, task: Task, blocks: Sequence[_Block]) -> None:
        self._ray, self._cluster = ray, cluster
        self._task = ray.put(task)
        self._waiting = deque(blocks)
        self._busy: dict[Any, tuple[Any, _Block | None]] = {}
        """Promises by what will be there: a block, or a worker that is ready."""

        self._machines: dict[Any, str] = {}
        self._idle: list[Any] = []
        self.lost = 0
        self.notes: list[str] = []

    def results(self) -> Iterator[tuple[Summary, str]]:
        """What became of blocks, with the machine, until none is left."""
        try:
            for _ in range(self._cluster.workers):
                self._hire()
            while self._waiting or any(block for _, block in self._busy.values()):
                yield from self._next()
        finally:
            for worker in {worker for worker, _ in self._busy.values()} | set(self._machines):
                with suppress(Exception):
                    self._ray.kill(worker)

    def _hire(self) -> None:
        cluster = self._cluster
        kind = self._ray.remote(
            num_cpus=cluster.cpus, num_gpus=cluster.gpus, scheduling_strategy="SPREAD"
        )(Worker)
        worker = kind.remote(self._task)
        self._busy[worker.prepare.remote()] = worker, None

    def _next(self) -> Iterator[tuple[Summary, str]]:
        """Wait for a worker, and give it the next block."""
        found, _ = self._ray.wait(list(self._busy), timeout=self._cluster.patience)
        if not found:
            self._give_up()
        for promise in found:
            worker, block = self._busy.pop(promise)
            try:
                value = self._ray.get(promise)
            except self._ray.exceptions.RayTaskError as error:
                self._refused(error)
                continue
            except self._ray.exceptions.RayError as error:  # it or its machine is gone
                yield from self._died(worker, block, error)
                continue
            if block is None:
                self._machines[worker] = value
            else:
                yield value, self._machines[worker]
            self._idle.append(worker)
        while self._waiting and self._idle:
            worker, following = self._idle.pop(), self._waiting.popleft()
            self._busy[worker.fuse.remote(following.pairs, following.check)] = worker, following

    def _refused(self, error: Any) -> None:
        """A worker that cannot do the job: the others go on without it."""
        cause = error.cause if isinstance(error.cause, InputError) else InputError(str(error))
        self.notes.append(f"a worker was left out: {cause}")
        if not self._busy:
            raise cause

    def _died(self, worker: Any, block: _Block | None, error: Any) -> Iterator[tuple[Summary, str]]:
        self._machines.pop(worker, None)
        self.lost += 1
        if self.lost > _DEATHS * self._cluster.workers and not self._machines:
            raise InputError(f"workers die before they begin ({_line(error)}): look at their logs.")
        self._hire()
        if block is None:
            return
        if block.tries + 1 < _TRIES:
            self._waiting.append(block._replace(check=False, tries=block.tries + 1))
        elif len(block.pairs) > 1:
            # Which of them is it? Each has its tries alone.
            self._waiting.extend(_Block([pair], check=False) for pair in block.pairs)
        else:
            pair = block.pairs[0]
            text = (
                f"the worker died {_TRIES} times while it fused {pair.first} and {pair.second}: "
                "use smaller images, or fewer workers on a machine."
            )
            yield Summary(failed={pair.name: InputError(text)}), ""

    def _give_up(self) -> None:
        """No news for a long time: replace workers that are silent; without any, say why."""
        if not self._machines:
            free = self._ray.cluster_resources()
            raise InputError(
                f"the cluster has given no worker in {self._cluster.patience:.0f} s: it has "
                f"{free.get('CPU', 0):.0f} CPUs and {free.get('GPU', 0):.0f} GPUs in all; ask for "
                "fewer workers.",
                setting="workers",
            )
        for worker, _ in list(self._busy.values()):
            with suppress(Exception):
                self._ray.kill(worker)  # its promise is broken then, and its block done again


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _node_id() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id())[:6]


@contextmanager
def _connected(cluster: Cluster) -> Iterator[Any]:
    """Ray, connected to a cluster; one that is started here ends here."""
    try:
        import ray
    except ImportError as error:
        raise InputError(
            "many machines need the package ray: install it with pip install 'cddfuse[ray]'.",
            setting="engine",
        ) from error
    if ray.is_initialized():  # by the program that calls
        yield ray
        return
    own: dict[str, Any] = {"address": cluster.address}
    if cluster.address is None:
        cpus = max(2, cluster.workers * cluster.cpus)  # logical ones: one stays for Ray itself
        own = {"num_cpus": cpus, "object_store_memory": _STORE, "include_dashboard": False}
    env = {"env_vars": {"OMP_NUM_THREADS": str(cluster.cpus)}}
    before = {name: os.environ.get(name) for name in _SETTINGS}
    os.environ.update({name: value for name, value in _SETTINGS.items() if not before[name]})
    try:
        try:
            ray.init(**own, runtime_env=env, logging_level=logging.ERROR, log_to_driver=False)
        except Exception as error:  # of many kinds
            where = f"at {cluster.address}" if cluster.address else "here"
            raise InputError(
                f"Ray does not answer or start {where} ({_line(error)}): start a cluster with `ray "
                "start` and name its address, or do without.",
                setting="address",
            ) from error
        yield ray
    finally:
        ray.shutdown()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
