"""The fast form of CDDFuse, as `runtime.run` uses it."""

from threading import Lock
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from cddfuse.models.cddfuse import CDDFuse
from cddfuse.runtime.cddfuse import sampled
from cddfuse.runtime.cddfuse.bands import in_bands
from cddfuse.runtime.cddfuse.exact import Fast, bytes_for, largest_side
from cddfuse.runtime.cddfuse.whole import EAGER, HalfBlocks, Whole
from cddfuse.runtime.limits import SMALLEST_TILE, Kernels, Progress

_Wholes = dict[tuple[str, torch.dtype, int], Whole]
_built: WeakKeyDictionary[CDDFuse, _Wholes] = WeakKeyDictionary()
_lock = Lock()


class FastCDDFuse:
    """Patch by patch if the feature maps of the image fit, else in tiles with sampled attention."""

    tiling = "with sampled attention"

    def __init__(self, model: CDDFuse) -> None:
        self._fast = Fast(model)

    def is_of(self, model: CDDFuse) -> bool:
        """Whether the network is still the one that this form was made from."""
        return self._fast.is_of(model)

    def bytes_for(self, height: int, width: int) -> int:
        """Memory for an image."""
        return bytes_for(height, width)

    def tile_for(self, memory: int) -> int:
        """Side of tiles that fit into so many bytes."""
        return max(largest_side(memory) - 2 * sampled.HALO, SMALLEST_TILE)

    def fuse(self, first: Tensor, second: Tensor, progress: Progress | None) -> Tensor:
        """Fuse a pair (1, 1, H, W)."""
        return self._fast(first, second, progress=progress)

    def fuse_tiles(
        self, first: Tensor, second: Tensor, side: int, memory: int, progress: Progress | None
    ) -> Tensor:
        """Fuse a pair (1, 1, H, W) in tiles."""
        room = largest_side(memory)
        return sampled.fuse_sampled(self._fast, first, second, side, room, progress)


def fast_form(model: CDDFuse) -> FastCDDFuse | None:
    """The fast form of a network; None if it is an ablation, or not in single precision."""
    return FastCDDFuse(model) if Fast.suits(model) else None


def whole_form(model: CDDFuse, kernels: Kernels, dtype: torch.dtype, band: int = 0) -> Whole:
    """A network by chosen kernels, built when first asked for and again when weights change."""
    with _lock:
        forms = _built.setdefault(model, {})
        form = forms.get((kernels, dtype, band))
    if form is None or not form.is_of(model):
        functions = _functions(kernels, dtype)
        form = Whole(model, dtype, in_bands(functions, band) if band else functions)
        with _lock:
            forms[kernels, dtype, band] = form
    return form


def _functions(name: Kernels, dtype: torch.dtype) -> HalfBlocks:
    if name == "compile":
        from cddfuse.runtime.cddfuse.inductor import compiled

        return compiled(dtype)
    if name == "triton":
        from cddfuse.runtime.cddfuse import triton_layers

        return triton_layers.KERNELS
    return EAGER
