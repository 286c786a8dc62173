"""Work spread over threads comes back in order, and nobody's number of threads changes."""

import os
import sys
import threading
from collections.abc import Iterator

import pytest
import torch

from cddfuse import ImagePair, fuse, threads
from cddfuse.metrics import METRICS, score
from cddfuse.models import create_model
from cddfuse.threads import parallel_map, single_threaded, worker_count


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


class Watch:
    """A thread that looks all the time at its number of threads, and at that of new threads."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.new: list[int] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._stop.is_set():
            self.seen.append(torch.get_num_threads())
            self.new.append(of_new_thread())

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def of_new_thread() -> int:
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return seen[0]


@pytest.mark.usefixtures("two_threads")
def test_fusing_and_scoring_change_nobodys_number_of_threads() -> None:
    model = create_model("cddfuse", "ivf")
    pair = ImagePair(*torch.rand(2, 1, 70, 90, generator=torch.Generator().manual_seed(0)))
    fused = fuse(model, pair)
    images = [image[None] for image in (fused, *pair[:2])]
    score(images[0], images[1], images[2])  # all workers have started
    with Watch() as watch:
        fuse(model, pair)
        score(images[0], images[1], images[2])
    assert len(watch.seen) > 20
    assert {*watch.seen, *watch.new, torch.get_num_threads()} == {2}


@pytest.mark.usefixtures("two_threads")
def test_workers_start_without_a_change_for_other_threads() -> None:
    with Watch() as watch:
        for workers in range(11, 15):
            parallel_map(str, range(2 * workers), workers)
    assert watch.new
    assert {*watch.seen, *watch.new, torch.get_num_threads(), of_new_thread()} == {2}


@pytest.mark.usefixtures("two_threads")
def test_pytorchs_own_way_leaves_the_default_of_new_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threads, "_own_setters", list)
    all_of_them = threading.Barrier(7, timeout=20)

    def work(_: int) -> int:
        all_of_them.wait()
        return torch.get_num_threads()

    assert parallel_map(work, range(7), workers=7) == [1] * 7
    assert torch.get_num_threads() == of_new_thread() == 2


@pytest.mark.usefixtures("two_threads")
def test_results_are_in_order_and_made_by_threads_with_one_each() -> None:
    both = threading.Barrier(2, timeout=20)

    def work(number: int) -> tuple[int, int]:
        both.wait()
        return number, torch.get_num_threads()

    expected = [(number, 1) for number in range(6)]
    assert parallel_map(work, range(6), workers=2) == expected

    @single_threaded
    def inside() -> tuple[int, int, list[tuple[int, int]]]:
        nested = single_threaded(lambda: parallel_map(work, range(6)))()
        return torch.get_num_threads(), worker_count(), nested

    assert inside() == (1, 2, expected)
    assert torch.get_num_threads() == worker_count() == 2


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_modes_are_those_of_the_caller(mode: type) -> None:
    weight = torch.ones(3, requires_grad=True)
    double = single_threaded(lambda: weight * 2)
    with mode():
        here, there = weight * 2, double()
    assert there.requires_grad == here.requires_grad
    assert there.is_inference() == here.is_inference()


@pytest.mark.usefixtures("two_threads")
def test_pieces_are_made_when_they_are_needed() -> None:
    made: list[int] = []
    done: list[int] = []

    def work(number: int) -> int:
        done.append(number)
        return number

    def pieces() -> Iterator[int]:
        for number in range(20):
            made.append(number)
            yield number
            assert len(made) - len(done) <= 4

    assert parallel_map(work, pieces(), workers=2) == list(range(20))


@pytest.mark.usefixtures("two_threads")
def test_an_error_ends_the_work() -> None:
    begun: list[int] = []

    def fail(number: int) -> None:
        begun.append(number)
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        single_threaded(lambda: parallel_map(fail, range(30)))()
    assert len(begun) <= 4


@pytest.mark.usefixtures("two_threads")
def test_many_callers_at_a_time_share_the_workers() -> None:
    results: list[list[int]] = []

    def call() -> None:
        results.append(single_threaded(lambda: parallel_map(lambda x: x + 1, range(20)))())

    callers = [threading.Thread(target=call) for _ in range(40)]  # more than may run at a time
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(timeout=30)
    assert results == [list(range(1, 21))] * 40


if sys.platform != "win32":  # there is no fork

    @pytest.mark.usefixtures("two_threads")
    @pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
    def test_a_forked_process_starts_workers_of_its_own() -> None:
        assert parallel_map(str, range(3), workers=2) == ["0", "1", "2"]
        child = os.fork()
        if not child:
            done = parallel_map(str, range(3), workers=2) == ["0", "1", "2"]
            os._exit(0 if done else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_any_number_of_threads_gives_the_same_scores() -> None:
    fused, first, second = torch.rand(3, 1, 1, 161, 170, generator=torch.Generator().manual_seed(4))
    alone = score(fused, first, second, METRICS)
    torch.set_num_threads(3)
    try:
        together = score(fused, first, second, METRICS)
    finally:
        torch.set_num_threads(1)
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, rtol=1e-12, atol=0)
