"""Threads that take a piece of the work each, instead of all threads sharing every operation.

Operations on a patch or a band are so short that threads sharing them mostly wait for each other,
and far longer than the work takes if another program has the other core. Workers set their own
number of threads to one when they start, and nobody else's changes.
"""

import ctypes
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from functools import cache, lru_cache, wraps
from pathlib import Path
from threading import Lock, Thread
from typing import ParamSpec, TypeVar

import torch

Parameters = ParamSpec("Parameters")
Piece = TypeVar("Piece")
Result = TypeVar("Result")
_CALLS = 32  # of `single_threaded` functions that run at a time; more wait
_workers = ContextVar("workers", default=1)
_starting = Lock()


def single_threaded(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Give a function one thread for each operation, and `parallel_map` in it all of the caller's.

    The function runs in another thread while the caller waits; gradient mode, inference mode and
    context variables are the caller's.
    """

    @wraps(function)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        workers = torch.get_num_threads()
        if workers == 1:  # also within another such function, and in workers
            return function(*args, **kwargs)
        grad, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        context = copy_context()
        context.run(_workers.set, workers)

        def work() -> Result:
            with torch.inference_mode(inference), torch.set_grad_enabled(grad):
                return function(*args, **kwargs)

        return _pool("calls", _CALLS).submit(context.run, work).result()

    return run


def worker_count() -> int:
    """Threads among which work can be divided here: as many as torch has for an operation."""
    return max(_workers.get(), torch.get_num_threads())


def parallel_map(
    work: Callable[[Piece], Result], pieces: Iterable[Piece], workers: int | None = None
) -> list[Result]:
    """Results for all pieces, in their order.

    Pieces are taken from the iterable only a little before they are needed, which saves memory.

    Args:
        work: what is done with a piece.
        pieces: what there is to do.
        workers: threads, of one for each operation; with 1, the caller does it all. None is 1,
            except within `single_threaded`.
    """
    workers = workers or _workers.get()
    if workers == 1:
        return [work(piece) for piece in pieces]
    pool = _pool("workers", workers)
    results: list[Result] = []
    waiting: deque[Future[Result]] = deque()
    try:
        for piece in pieces:
            waiting.append(pool.submit(work, piece))
            if len(waiting) == in_flight(workers):
                results.append(waiting.popleft().result())
        return results + [future.result() for future in waiting]
    finally:
        for future in waiting:
            future.cancel()  # after an error; those that are done do not mind


def in_flight(workers: int) -> int:
    """Pieces that `parallel_map` has begun and not finished, at most."""
    return 2 * workers


@lru_cache
def _pool(name: str, workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, f"cddfuse {name}", _take_one_thread)


def _take_one_thread() -> None:
    """Set the number of threads of this new thread to one."""
    with _starting:
        default = torch.get_num_threads()  # PyTorch sets it once for each thread: now
        for set_own in _own_setters():
            set_own(1)
        if torch.get_num_threads() > 1:
            # PyTorch's own way, which also makes it the default of threads that are yet to start:
            # another new thread, which takes the default when it first asks, sets that back.
            torch.set_num_threads(1)
            restoring = Thread(target=torch.set_num_threads, args=(default,))
            restoring.start()
            restoring.join()


@cache
def _own_setters() -> list[Callable[[int], object]]:
    """What sets the number of threads of the calling thread alone, in OpenMP and MKL."""
    names = ["omp_set_num_threads"]
    if torch.backends.mkl.is_available():
        names.append("MKL_Set_Num_Threads_Local")
    suffix = "dylib" if sys.platform == "darwin" else "so"
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / f"libtorch_cpu.{suffix}"))
        return [getattr(library, name) for name in names]
    except (OSError, AttributeError):  # built in another way
        return []


if hasattr(os, "register_at_fork"):  # a child has the pools, but not their threads
    os.register_at_fork(after_in_child=_pool.cache_clear)
