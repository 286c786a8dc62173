"""Threads that each take a band of rows, instead of all threads taking each operation.

Operations on a band are so short that threads mostly wait for each other, and far longer than the
work takes if another program has the other core.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import TypeVar

import torch

Piece = TypeVar("Piece")
Result = TypeVar("Result")
_workers = ContextVar("workers", default=1)


@contextmanager
def single_threaded() -> Iterator[None]:
    """Within, operations have one thread and `parallel_map` has as many as torch had."""
    threads = torch.get_num_threads()
    token = _workers.set(max(threads, _workers.get()))
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        _workers.reset(token)


def parallel_map(work: Callable[[Piece], Result], pieces: Iterable[Piece]) -> list[Result]:
    """Results for all pieces, in their order: one by one, or in threads within `single_threaded`.

    Pieces are made only a little before they are needed, and so take little memory.
    """
    workers = _workers.get()
    if workers == 1:
        return [work(piece) for piece in pieces]
    pool = _pool(workers)
    results: list[Result] = []
    waiting: deque[Future[Result]] = deque()
    for piece in pieces:
        waiting.append(pool.submit(work, piece))
        if len(waiting) == at_once():
            results.append(waiting.popleft().result())
    return results + [future.result() for future in waiting]


def at_once() -> int:
    """Pieces in flight at most in `parallel_map`, within `single_threaded`."""
    return 2 * max(_workers.get(), torch.get_num_threads())


@lru_cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, "bands", torch.set_num_threads, (1,))
