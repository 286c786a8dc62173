"""How blocks are handed out, with workers that die, refuse and fall silent on command.

The cluster is one of objects: `test_ray.py` has a real one, where Ray starts.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from cddfuse.errors import InputError
from cddfuse.io import PairedPaths
from cddfuse.pipeline import Summary
from cddfuse.scale.ray_fuse import Cluster, _Block, _blocks, _Pool


class RayError(Exception):
    """A worker is gone."""


class RayTaskError(RayError):
    """A worker has raised."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Objects:
    """A Ray of objects. `act` is what worker n does with a block: a list of names, or an error."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(
        self, act: Callable[[int, list[str]], Any], ready: Callable[[int], Any] = lambda n: f"m{n}"
    ) -> None:
        self.act, self.ready = act, ready
        self.workers: list[Any] = []
        self.killed: list[Any] = []

    def put(self, value: Any) -> Any:
        return value

    def remote(self, **options: Any) -> Any:
        return lambda kind: SimpleNamespace(remote=self._start)

    def _start(self, task: Any) -> Any:
        number = len(self.workers)
        parts = SimpleNamespace(
            prepare=SimpleNamespace(remote=lambda: self._promise(number, None)),
            fuse=SimpleNamespace(remote=lambda pairs, check: self._promise(number, pairs)),
        )
        worker = _Handle(parts.prepare, parts.fuse)
        self.workers.append(worker)
        return worker

    def _promise(self, number: int, pairs: Any) -> Any:
        return _Promise(number, pairs)

    def wait(self, promises: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        found = [each for each in promises if self._value(each) != "silent"]
        return found[:1], []

    def _value(self, promise: Any) -> Any:
        if self.workers[promise.number] in self.killed:
            return RayError("killed")
        if promise.pairs is None:
            return self.ready(promise.number)
        return self.act(promise.number, [pair.name for pair in promise.pairs])

    def get(self, promise: Any) -> Any:
        value = self._value(promise)
        if isinstance(value, InputError):
            raise RayTaskError(value)
        if isinstance(value, Exception):
            raise value
        return value if isinstance(value, str) else Summary(done=value)

    def kill(self, worker: Any) -> None:
        self.killed.append(worker)

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}


class _Handle:
    def __init__(self, prepare: Any, fuse: Any) -> None:
        self.prepare, self.fuse = prepare, fuse


class _Promise:
    def __init__(self, number: int, pairs: Any) -> None:
        self.number, self.pairs = number, pairs


def pairs(count: int) -> list[PairedPaths]:
    from pathlib import Path

    return [PairedPaths(str(n), Path(f"v/{n}.png"), Path(f"i/{n}.png")) for n in range(count)]


def run(ray: Objects, count: int = 40, workers: int = 2) -> tuple[Summary, _Pool]:
    cluster = Cluster(workers=workers, patience=7)
    pool = _Pool(ray, cluster, None, _blocks(pairs(count), workers, True))  # type: ignore[arg-type]
    whole = Summary()
    for part, _ in pool.results():
        whole.done += part.done
        whole.failed |= part.failed
    return whole, pool


def names(count: int) -> list[str]:
    return sorted(map(str, range(count)))


def test_every_pair_is_done_once_and_workers_are_let_go() -> None:
    ray = Objects(lambda number, block: block)
    whole, pool = run(ray)
    assert sorted(whole.done) == names(40)
    assert (pool.lost, pool.notes) == (0, [])
    assert set(ray.killed) == set(ray.workers)


def test_a_worker_that_dies_is_replaced() -> None:
    def act(number: int, block: list[str]) -> Any:
        return RayError("node died") if number == 1 else block

    whole, pool = run(Objects(act))
    assert sorted(whole.done) == names(40)
    assert pool.lost == 1


def test_a_worker_with_nothing_to_do_takes_the_block_of_one_that_dies_last() -> None:
    done: list[str] = []

    def act(number: int, block: list[str]) -> Any:
        if number == 1:
            return RayError("node died") if len(set(done)) == 7 else "silent"
        done.extend(block)
        return block

    whole, pool = run(Objects(act, lambda number: "silent" if number > 1 else "m"), count=8)
    assert sorted(whole.done) == names(8)
    assert pool.lost == 1


def test_a_pair_that_kills_workers_fails_alone() -> None:
    def act(number: int, block: list[str]) -> Any:
        return RayError("out of memory") if "17" in block else block

    whole, pool = run(Objects(act))
    assert sorted([*whole.done, "17"]) == names(40)
    (reason,) = whole.failed.values()
    assert str(reason).startswith("the worker died 3 times while it fused v/17.png and i/17.png")
    assert pool.lost == 6  # three times in its block, and then alone


def test_machines_that_do_not_fit_are_left_out() -> None:
    def ready(number: int) -> Any:
        return InputError("m0 has other weights.") if number == 0 else "m"

    whole, pool = run(Objects(lambda number, block: block, ready))
    assert sorted(whole.done) == names(40)
    assert pool.notes == ["a worker was left out: m0 has other weights."]
    with pytest.raises(InputError, match=r"^not here\.$"):
        run(Objects(lambda number, block: block, lambda number: InputError("not here.")))


def test_workers_that_die_before_they_begin_end_the_job() -> None:
    ray = Objects(lambda number, block: block, lambda number: RayError("no module cddfuse"))
    with pytest.raises(InputError, match=r"workers die before they begin \(no module cddfuse\)"):
        run(ray)


def test_workers_that_fall_silent_are_replaced() -> None:
    def act(number: int, block: list[str]) -> Any:
        return "silent" if number < 2 else block

    whole, pool = run(Objects(act))
    assert sorted(whole.done) == names(40)
    assert pool.lost == 2


def test_a_cluster_without_room_is_a_sentence() -> None:
    ray = Objects(lambda number, block: block, lambda number: "silent")
    with pytest.raises(InputError, match=r"has given no worker in 7 s: it has 2 CPUs and 0 GPUs"):
        run(ray)


@pytest.mark.parametrize("workers", [1, 3, 64, 2000])
def test_blocks_hold_every_pair_once(workers: int) -> None:
    every = pairs(1000)
    blocks = _blocks(every, workers, check=True)
    assert [pair for block in blocks for pair in block.pairs] == every
    assert max(len(block.pairs) for block in blocks) <= 32
    assert 1 <= sum(block.check for block in blocks) <= 8
    assert not any(block.check for block in _blocks(every, workers, check=False))
    assert _Block(every, False).tries == 0
