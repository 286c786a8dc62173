"""How much memory a network takes for an image, and how much there is."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary, finalize

import psutil
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cddfuse.models.base import FusionModel
from cddfuse.runtime.allocator import keeps_memory, kept_memory

_SHARE = 0.7  # of free memory that a run may take
# A process takes more than its tensors, as memory is fragmented: 0.9 to 1.3 times as much at
# 640x480, and 0.9 to 1.9 times if freed memory is kept (docs/runtime.md).
_FRAGMENTED, _FRAGMENTED_AND_KEPT = 1.25, 1.6
_PROBE = 96  # side of the image that a network is measured with if it cannot run without data
_CGROUP = Path("/sys/fs/cgroup")
_lock = Lock()
_known: WeakKeyDictionary[FusionModel, dict[tuple[int, int, int], int]] = WeakKeyDictionary()


def budget(device: torch.device) -> int:
    """Bytes that a run may take: a share of what is free, or has been freed and is kept."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(_SHARE * (torch.cuda.mem_get_info(device)[0] + kept))
    free = min(psutil.virtual_memory().available, _left_in_container())
    return int(_SHARE * (free + kept_memory()))


def _left_in_container() -> float:
    """Bytes up to the limit of the control group (v2) that the process is in, if there is one."""
    try:
        limit, used = ((_CGROUP / f"memory.{name}").read_text() for name in ("max", "current"))
        parts = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        return int(limit) - int(used) + int(parts.get("inactive_file", 0))
    except (OSError, ValueError):  # no control group, or no limit ("max")
        return float("inf")


def needed(model: FusionModel, batch: int, height: int, width: int) -> int:
    """Peak memory of a network in bytes, for images of a size that it can take.

    It is counted without data. Networks that cannot run without are measured on a small image, and
    those that do not compute with PyTorch have it on their card.
    """
    size = batch, height, width
    with _lock:
        sizes = _known.setdefault(model, {})
    if size not in sizes:
        factor = _FRAGMENTED_AND_KEPT if keeps_memory() else _FRAGMENTED
        sizes[size] = int(factor * _measured(model, *size))
    return sizes[size]


def _measured(model: FusionModel, batch: int, height: int, width: int) -> float:
    pixels = batch * height * width
    if model.card.bytes_per_pixel is not None:
        return model.card.bytes_per_pixel * pixels
    for measure in (tensor_bytes, _scaled_up):
        try:
            return measure(model, batch, height, width)
        except Exception:  # whatever a network does that is not possible there
            continue
    return 0


def tensor_bytes(model: nn.Module, batch: int, height: int, width: int) -> float:
    """Bytes of all tensors that exist at the same time while a network runs, at the peak.

    A copy of it runs without data, on PyTorch's device "meta", which takes some milliseconds.
    """
    memo: dict[int, Any] = {}  # given to the copy in place of the weights
    for weight in model.parameters():
        memo[id(weight)] = nn.Parameter(weight.detach().to("meta"), requires_grad=False)
    for buffer in model.buffers():
        memo[id(buffer)] = buffer.to("meta")
    pair = torch.empty(2, batch, 1, height, width, device="meta", dtype=_dtype(model))
    return _peak(deepcopy(model, memo), pair)


def _scaled_up(model: FusionModel, batch: int, height: int, width: int) -> float:
    """The same from a small image."""
    multiple = model.card.multiple_of
    side = -(-max(_PROBE, model.card.smallest) // multiple) * multiple
    device = next((weight.device for weight in model.parameters()), None)
    pair = torch.zeros(2, 1, 1, side, side, device=device, dtype=_dtype(model))
    return _peak(model, pair) * batch * height * width / side**2


def _dtype(model: nn.Module) -> torch.dtype:
    return next((x.dtype for x in model.parameters() if x.is_floating_point()), torch.float32)


def _peak(model: nn.Module, pair: Tensor) -> int:
    with torch.inference_mode(False), torch.no_grad(), _Count() as count:
        model(pair[0], pair[1])
    return count.peak


class _Count(TorchDispatchMode):
    """Counts the bytes of the tensors that operations make, as long as they exist."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self, operation: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run an operation and count its results."""
        for tensor in _tensors((args, kwargs)):
            self._sizes.setdefault(tensor.untyped_storage()._cdata, 0)  # was there before
        results = operation(*args, **(kwargs or {}))
        for tensor in _tensors(results):
            storage = tensor.untyped_storage()
            if storage._cdata not in self._sizes:
                self._sizes[storage._cdata] = storage.nbytes()
                finalize(storage, self._sizes.pop, storage._cdata)
        present = sum(self._sizes.values())
        if operation is torch.ops.aten.convolution.default:
            present += _buffers(args[0], args[1], results)
        self.peak = max(self.peak, present)
        return results


def _buffers(image: Tensor, kernel: Tensor, result: Tensor) -> int:
    """Bytes that a convolution takes on a CPU beside its arguments and its result."""
    if image.dtype == torch.float64:  # the window of every pixel is written out
        return result.nbytes // result.shape[1] * kernel[0].numel()
    return image.nbytes + result.nbytes  # copies with another order of channels


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
