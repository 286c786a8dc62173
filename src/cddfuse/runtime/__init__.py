"""How a network is run over an image: in which form, at which precision, whole or in tiles."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, cast

import psutil
import torch
import torch.nn.functional as F
from torch import Tensor

from cddfuse.errors import InputError
from cddfuse.filters import exact_convolutions
from cddfuse.models.base import FusionModel
from cddfuse.models.cddfuse import CDDFuse
from cddfuse.runtime import tiles
from cddfuse.runtime.cddfuse.exact import Fast, Progress, bytes_for, largest_side

_log = logging.getLogger(__name__)
_SHARE = 0.7  # of the free memory that a run may take


@dataclass(frozen=True)
class Limits:
    """What a run may cost. All by itself by default."""

    tile: int = 0
    """Side of tiles, in pixels; 0 fuses in one piece what fits the memory."""

    memory: int = 0
    """Bytes that the feature maps may take; 0 is 70 % of what is free."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of the arithmetic; auto is bf16 for CDDFuse on GPUs that have it, fp32 elsewhere. Norms and
    exponents stay in fp32."""

    progress: Progress | None = field(default=None, compare=False)
    """Told again and again which share of an image is done. For CDDFuse in patches or tiles."""

    def __post_init__(self) -> None:
        if self.tile < 0 or 0 < self.tile < tiles.SMALLEST:
            raise InputError(
                f"a tile of {self.tile} pixels is too small: {tiles.SMALLEST} or more."
            )
        if self.memory < 0:
            raise InputError(f"memory is {self.memory} bytes: it must be positive.")


@exact_convolutions()
def run(model: FusionModel, first: Tensor, second: Tensor, limits: Limits | None = None) -> Tensor:
    """Run a network over images (B, 1, H, W) of any size; the result has that size.

    Images whose sides the network cannot take are padded at the right and below, by reflection, or
    by repeating the border where there is too little to reflect. A CDDFuse gives the same in less
    time and memory than by its own `forward`; images that do not fit the memory are fused in tiles.
    """
    height, width = first.shape[-2:]
    right, below = (_missing(side, model) for side in (width, height))
    if right or below:
        mode = "reflect" if right < width and below < height else "replicate"
        first, second = (F.pad(x, (0, right, 0, below), mode=mode) for x in (first, second))
    fused = _first_that_fits(_ways(model, first, second, limits or Limits()))
    return fused[..., :height, :width]


def _missing(side: int, model: FusionModel) -> int:
    """Pixels between a side and the next one that the network can take."""
    multiple = model.card.multiple_of
    wanted = max(side, model.card.smallest)
    return -(-wanted // multiple) * multiple - side


def _first_that_fits(ways: Iterator[tuple[str, Callable[[], Tensor]]]) -> Tensor:
    """The result of the first way that does not run out of a memory of a GPU, or the last error."""
    last: torch.OutOfMemoryError | None = None
    for name, way in ways:
        if last:
            torch.cuda.empty_cache()  # does nothing where there is no GPU
            _log.warning("out of memory: going on %s", name)
        else:
            _log.info("fusing %s", name)
        try:
            return way()
        except torch.OutOfMemoryError as error:
            # Its traceback holds what was in the memory.
            last = error.with_traceback(None)
    assert last is not None  # there is always a way
    raise last


def _ways(
    model: FusionModel, first: Tensor, second: Tensor, limits: Limits
) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    """What can be done, the best first."""
    device, shape = first.device, first.shape[-2:]
    bf16 = limits.precision == "bf16" or (
        limits.precision == "auto"
        and isinstance(model, CDDFuse)
        and device.type == "cuda"
        and torch.cuda.is_bf16_supported()
    )

    def whole(first: Tensor, second: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            return model(first, second).float()

    progress = limits.progress or (lambda share: None)

    def patches() -> Tensor:
        fast = Fast(cast(CDDFuse, model))
        return _each(partial(fast, progress=progress), first, second)

    def frozen(side: int, room: int) -> Tensor:
        fuser = tiles.Frozen(Fast(cast(CDDFuse, model)), side, room, progress)
        return _each(fuser, first, second)

    def blended(side: int) -> Tensor:
        return tiles.blended(model, whole, first, second, side)

    in_tiles: Callable[[int], Tensor]

    side = limits.tile
    if not Fast.suits(model):
        in_tiles = blended
        if not side:
            yield "whole", partial(whole, first, second)
            side = max(shape) // 2
    else:
        memory = limits.memory or int(_SHARE * _free(device))
        need = bytes_for(*shape)
        fits = need <= memory
        if fits and not side and (bf16 or device.type != "cpu"):
            yield "whole", partial(whole, first, second)
        if fits and not side:
            yield "patch by patch", patches
        room = largest_side(memory)
        in_tiles = partial(frozen, room=room)
        if not side:
            side = room - 2 * tiles.HALO
            if fits:  # tiles come after the whole image, so they are smaller
                side = min(side, max(shape) // 2)
            side = max(side, tiles.SMALLEST)
            if not fits:
                text = (
                    "%d x %d pixels need %.1f GB, of %.1f: "
                    "tiles of %d pixels, with sampled attention"
                )
                _log.warning(text, shape[1], shape[0], need / 1e9, memory / 1e9, side)
    while side >= tiles.SMALLEST:
        yield f"tiles of {side} pixels", partial(in_tiles, side)
        side //= 2


def _each(work: Callable[[Tensor, Tensor], Tensor], first: Tensor, second: Tensor) -> Tensor:
    pairs = zip(first.split(1), second.split(1), strict=True)
    return torch.cat([work(one, two) for one, two in pairs])


def _free(device: torch.device) -> int:
    """Bytes that are free where a device has its memory."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available
