"""Run a network over an image: in its fast form if it has one, in tiles if memory is short."""

import logging
from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterator, Mapping
from functools import cached_property, partial
from threading import Lock
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor

from cddfuse.history import current
from cddfuse.models.base import FusionModel
from cddfuse.models.cddfuse import CDDFuse
from cddfuse.runtime import memory, tiles
from cddfuse.runtime.cddfuse import engine
from cddfuse.runtime.cddfuse.form import fast_form, whole_form
from cddfuse.runtime.graphs import Work, graphs_of, state_of
from cddfuse.runtime.limits import SMALLEST_TILE, Limits, Progress
from cddfuse.threads import single_threaded

_log = logging.getLogger(__name__)
_lock = Lock()


class FastForm(Protocol):
    """A network arranged to fuse in less time and memory than by its own `forward`.

    Any number of threads may use it at a time.
    """

    tiling: str
    """How its tiles differ from the whole image, for a warning."""

    def is_of(self, model: Any) -> bool:
        """Whether the network still has the weights and options that the form was made from."""

    def bytes_for(self, height: int, width: int) -> int:
        """Memory for an image."""

    def tile_for(self, memory: int) -> int:
        """Side of tiles that fit into so many bytes."""

    def fuse(self, first: Tensor, second: Tensor, progress: Progress | None) -> Tensor:
        """Fuse a pair (1, 1, H, W)."""

    def fuse_tiles(
        self, first: Tensor, second: Tensor, side: int, memory: int, progress: Progress | None
    ) -> Tensor:
        """Fuse a pair (1, 1, H, W) in tiles."""


FAST_FORMS: Mapping[type[FusionModel], Callable[[Any], FastForm | None]] = {
    CDDFuse: fast_form,
}
"""What builds the fast form of a network of that class; None where its options have none."""

_built: WeakKeyDictionary[FusionModel, FastForm] = WeakKeyDictionary()


def run(model: FusionModel, first: Tensor, second: Tensor, limits: Limits | None = None) -> Tensor:
    """Run a network over images (B, 1, H, W) of any size; the result has that size.

    Images whose sides the network cannot take are padded at the right and below, by reflection, or
    by repeating the border where there is too little to reflect. A network with a fast form gives
    the same in less time and memory; images that do not fit into memory are fused in tiles.

    Raises:
        InputError: the network or its device does not have the kernels that are chosen.
    """
    height, width = first.shape[-2:]
    right, below = (_missing(side, model) for side in (width, height))
    if right or below:
        mode = "reflect" if right < width and below < height else "replicate"
        first, second = (F.pad(x, (0, right, 0, below), mode=mode) for x in (first, second))
    fused = _first_that_fits(_Plan(model, first, second, limits or Limits()).ways())
    return fused[..., :height, :width]


@single_threaded  # comparing weights is a hundred short operations
def fast_form_of(model: FusionModel) -> FastForm | None:
    """The fast form of a network, built when first asked for and again when weights change."""
    build = next((FAST_FORMS[kind] for kind in type(model).__mro__ if kind in FAST_FORMS), None)
    if build is None:
        return None
    with _lock:
        form = _built.get(model)
    if form is None or not form.is_of(model):
        form = build(model)
        with _lock:
            _built.pop(model, None)
            if form is not None:
                _built[model] = form
    return form


def _missing(side: int, model: FusionModel) -> int:
    """Pixels between a side and the next one that the network can take."""
    multiple = model.card.multiple_of
    wanted = max(side, model.card.smallest)
    return -(-wanted // multiple) * multiple - side


Way = tuple[str, Callable[[], Tensor]]


def _first_that_fits(ways: Iterator[Way]) -> Tensor:
    """The result of the first way that does not run out of memory, or the last error."""
    last: Exception | None = None
    history = current()
    place = history.place if history else 0
    for name, way in ways:
        if last:
            torch.cuda.empty_cache()  # does nothing where there is no GPU
            _log.warning("out of memory: going on %s", name)
        else:
            _log.info("fusing %s", name)
        if history:
            history.restart(place)  # its statistics are those of one way
        try:
            return way()
        except (RuntimeError, MemoryError) as error:
            if not _out_of_memory(error):
                raise
            # Its traceback holds what was in memory.
            last = error.with_traceback(None)
    assert last is not None  # there is always a way
    raise last


def _out_of_memory(error: Exception) -> bool:
    return (
        isinstance(error, torch.OutOfMemoryError | MemoryError)
        or "DefaultCPUAllocator" in str(error)  # a RuntimeError
    )


class _Plan:
    """The ways to fuse a batch of pairs, the best first."""

    def __init__(self, model: FusionModel, first: Tensor, second: Tensor, limits: Limits) -> None:
        self._model = model
        self._pair = first, second
        self._limits = limits
        self._device = first.device
        self._memory = limits.memory or memory.budget(first.device)
        engine.require(limits.kernels, model, first.device)
        if limits.graphs:
            engine.require_graphs(first.device)
        self._bf16 = limits.precision == "bf16" or (
            limits.precision == "auto"
            and model.card.bf16
            and first.device.type == "cuda"
            and torch.cuda.is_bf16_supported()
        )

    @cached_property
    def _form(self) -> FastForm | None:
        return fast_form_of(self._model)

    def ways(self) -> Iterator[Way]:
        """What can be done, the best first; each is prepared when those before it have failed."""
        height, width = self._pair[0].shape[-2:]
        side = self._limits.tile
        if not side:
            fits = False
            for way in self._in_one_piece():
                fits = True
                yield way
            side = self._tile_for(self._memory)
            if fits:  # tiles come after the whole image, so they are smaller
                side = min(side, max(height, width) // 2)
            else:
                self._warn(side)
            side = max(side, SMALLEST_TILE)
        while side >= SMALLEST_TILE:
            yield f"tiles of {side} pixels", partial(self._in_tiles, side)
            side //= 2

    def _in_one_piece(self) -> Iterator[Way]:
        batch, _, height, width = self._pair[0].shape
        kernels = self._limits.kernels
        chosen = kernels != "auto"
        if chosen or self._bf16 or self._device.type != "cpu" or self._form is None:
            if self._fits(batch):
                yield "whole", partial(self._whole, *self._pair)
            elif batch > 1 and self._fits(1):
                yield "one by one", partial(self._each, self._whole)
            elif chosen:
                _log.warning("not by %s kernels: the whole image needs too much memory", kernels)
        if self._form and self._form.bytes_for(height, width) <= self._memory:
            fuse = partial(self._form.fuse, progress=self._limits.progress)
            yield "patch by patch", partial(self._each, fuse)

    def _fits(self, batch: int) -> bool:
        """Whether the network itself has memory enough. A GPU says so itself, if it may be full."""
        if self._device.type != "cpu" and not self._limits.memory:
            return True
        return self._needed(batch, *self._pair[0].shape[-2:]) <= self._memory

    def _needed(self, batch: int, height: int, width: int) -> int:
        return memory.needed(self._model, batch, height, width)

    def _tile_for(self, bytes_: int) -> int:
        """Side of tiles that fit into so many bytes."""
        if self._form:
            return self._form.tile_for(bytes_)
        height, width = self._pair[0].shape[-2:]
        sides = range(SMALLEST_TILE, max(height, width), SMALLEST_TILE // 2)

        def needed(side: int) -> int:
            around = tiles.overlapped(self._model.card, side)
            return self._needed(1, min(around, height), min(around, width))

        found = bisect_right(sides, bytes_, key=needed)
        return sides[max(found - 1, 0)] if sides else SMALLEST_TILE

    def _warn(self, side: int) -> None:
        height, width = self._pair[0].shape[-2:]
        need = self._form.bytes_for(height, width) if self._form else self._needed(1, height, width)
        _log.warning(
            "%d x %d pixels need %.1f GB, of %.1f: tiles of %d pixels, %s",
            *(width, height, need / 1e9, self._memory / 1e9, side),
            self._form.tiling if self._form else tiles.tiling(self._model.card),
        )

    def _whole(self, first: Tensor, second: Tensor) -> Tensor:
        work: Work = self._network
        if chosen := self._limits.kernels != "auto":
            assert isinstance(self._model, CDDFuse)
            dtype = torch.bfloat16 if self._bf16 else torch.float32
            work = whole_form(self._model, self._limits.kernels, dtype, self._limits.band)
        if not self._limits.graphs:
            return work(first, second)
        state: Hashable = work if chosen else (self._bf16, state_of(self._model))
        return graphs_of(self._model)(work, state, first, second)

    def _network(self, first: Tensor, second: Tensor) -> Tensor:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16):
            return self._model(first, second).float()

    def _in_tiles(self, side: int) -> Tensor:
        if self._form:
            progress = self._limits.progress
            fuse = partial(self._form.fuse_tiles, side=side, memory=self._memory, progress=progress)
        else:
            fuse = partial(tiles.in_tiles, self._model.card, self._whole, side=side)
        return self._each(fuse)

    def _each(self, work: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        pairs = zip(*(x.split(1) for x in self._pair), strict=True)
        return torch.cat([work(one, two) for one, two in pairs])
