"""Work spread over threads comes back in order, and torch's setting is as it was."""

import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from cddfuse.metrics import METRICS, score
from cddfuse.threads import parallel_map, single_threaded


@pytest.fixture
def two_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("two_threads")
def test_results_are_in_order_and_made_by_threads_with_one_each() -> None:
    both = threading.Barrier(2, timeout=20)

    def work(number: int) -> tuple[int, int]:
        both.wait()
        return number, torch.get_num_threads()

    with single_threaded():
        assert torch.get_num_threads() == 1
        with single_threaded():
            assert parallel_map(work, range(6)) == [(number, 1) for number in range(6)]
    assert torch.get_num_threads() == 2


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

    with single_threaded():
        assert parallel_map(work, pieces()) == list(range(20))


@pytest.mark.usefixtures("two_threads")
def test_an_error_leaves_the_setting_as_it_was() -> None:
    def fail(number: int) -> None:
        raise ArithmeticError

    with pytest.raises(ArithmeticError), single_threaded():
        parallel_map(fail, range(3))
    assert torch.get_num_threads() == 2


def test_any_number_of_threads_gives_the_same(scene: tuple[Tensor, Tensor, Tensor]) -> None:
    fused, first, second = (image / 255 for image in scene)
    alone = score(fused, first, second, METRICS)
    torch.set_num_threads(3)
    try:
        together = score(fused, first, second, METRICS)
    finally:
        torch.set_num_threads(1)
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, rtol=1e-12, atol=0)
