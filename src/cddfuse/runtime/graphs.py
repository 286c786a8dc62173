"""CUDA graphs: what a GPU does for an image, captured once for its size and then replayed.

A network of many small layers waits for the launches of its kernels. Once captured for images of a
size, such as those of a clip, they are launched together. A capture keeps the addresses of all that
it reads and writes, so it has images, statistics of the clip and feature maps of its own.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from threading import Lock
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from cddfuse.history import History, current
from cddfuse.models.base import FusionModel

Work = Callable[[Tensor, Tensor], Tensor]
Job = Callable[[], Sequence[Tensor]]
_MOST = 2  # captures, each of which keeps the memory of its feature maps
_WARM = 3  # runs before capture, in which libraries choose algorithms and compilers compile
_log = logging.getLogger(__name__)
_one_at_a_time = Lock()  # in a process, PyTorch captures one graph at a time


class Capture(NamedTuple):
    """A job on a GPU, ready to be replayed."""

    results: Sequence[Tensor]
    """Overwritten by each replay."""

    replay: Callable[[], object]
    """Does the job with what its tensors hold now."""


def capture(job: Job) -> Capture:
    """Capture a job on the current GPU, in a stream of its own."""
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    others = torch.cuda.current_stream()
    stream.wait_stream(others)
    with torch.cuda.stream(stream):  # also if capture fails
        for _ in range(_WARM):
            job()
        # Libraries keep memory for each stream, which captures in one stream would share.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            results = job()
    others.wait_stream(stream)
    return Capture(results, graph.replay)


class _Captured(NamedTuple):
    sources: Sequence[Tensor]
    capture: Capture


class Graphs:
    """The captures of a network. One thread uses them at a time; others wait.

    Args:
        capture: what captures a job; another one for tests.
    """

    def __init__(self, capture: Callable[[Job], Capture] = capture) -> None:
        self._capture = capture
        self._captured: OrderedDict[Hashable, _Captured] = OrderedDict()
        self._last: Hashable = None
        self._failed = False
        self._lock = Lock()

    @torch.inference_mode()
    def __call__(self, work: Work, state: Hashable, first: Tensor, second: Tensor) -> Tensor:
        """Do some work on a pair (B, 1, H, W); captured when two such pairs follow each other.

        Args:
            work: gives the fused images. It must not wait for the GPU.
            state: tells what else they depend on, and keeps it for as long as the capture.
            first: first images.
            second: second images.
        """
        history = current()
        sources = [first, second, *(history.past if history else ())]
        frames = history.frames if history else 0
        key = state, frames, *((x.shape, x.dtype, x.device) for x in sources)
        with self._lock, torch.cuda.device_of(first):
            known = self._known(key, work, sources, history)
            if known is None:
                return self._plainly(work, first, second, history)
            for kept, source in zip(known.sources, sources, strict=True):
                kept.copy_(source)
            known.capture.replay()
            fused, *statistics = (x.clone() for x in known.capture.results)
            if first.is_cuda:  # the next thread may use another stream
                torch.cuda.current_stream().synchronize()
        if history:
            history.adopt(statistics)
        return fused

    def _known(
        self, key: Hashable, work: Work, sources: Sequence[Tensor], history: History | None
    ) -> _Captured | None:
        """The capture, made now if it is time; None where there is none."""
        if key not in self._captured and key == self._last and not self._failed:
            try:
                with _one_at_a_time:
                    self._captured[key] = self._new(work, sources, history)
            except RuntimeError as error:  # out of memory is one
                self._failed = True
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                _log.warning("no CUDA graph of this network (%s): going on without", reason)
            if len(self._captured) > _MOST:
                self._captured.popitem(last=False)
        self._last = key
        known = self._captured.get(key)
        if known:
            self._captured.move_to_end(key)
        return known

    def _plainly(
        self, work: Work, first: Tensor, second: Tensor, history: History | None
    ) -> Tensor:
        place = history.place if history else 0
        try:
            return work(first, second)
        except torch.OutOfMemoryError:
            if not self._captured:
                raise
        self._captured.clear()  # they hold memory
        torch.cuda.empty_cache()
        if history:
            history.restart(place)
        return work(first, second)

    def _new(self, work: Work, sources: Sequence[Tensor], history: History | None) -> _Captured:
        first, second, *past = own = [x.clone() for x in sources]

        def job() -> Sequence[Tensor]:
            if history is None:
                return [work(first, second)]
            with history.apart(past) as statistics:
                return [work(first, second), *statistics]

        return _Captured(own, self._capture(job))


_graphs: WeakKeyDictionary[FusionModel, Graphs] = WeakKeyDictionary()
_lock = Lock()


def graphs_of(model: FusionModel) -> Graphs:
    """The captures of a network, which end with it."""
    with _lock:
        return _graphs.setdefault(model, Graphs())


def state_of(model: FusionModel) -> Hashable:
    """What a capture depends on: options, and addresses of weights, whose values may change."""
    tensors = (*model.parameters(), *model.buffers())
    kinds = bool, int, float, str
    options = ((name, value) for name, value in vars(model).items() if isinstance(value, kinds))
    return tuple(x.data_ptr() for x in tensors), tuple(sorted(options))
