"""Compiled loops for images that they suit: on CPUs, where no derivatives are asked for."""

from collections.abc import Callable
from functools import cache
from itertools import product
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from cddfuse.metrics.sliding import suits_opencv
from cddfuse.threads import parallel_map


def loops(*images: Tensor) -> ModuleType | None:
    """The module `kernels`; None where it does not suit, and PyTorch has to do."""
    return _kernels() if all(map(suits_opencv, images)) else None


@cache
def _kernels() -> ModuleType | None:
    try:
        from cddfuse.compiling import announce
        from cddfuse.metrics import kernels
    except (ImportError, RuntimeError):  # no Numba for a new Python yet, or no place for its files
        return None
    announce()
    return kernels


def of_each(loop: Callable[..., object], *images: Tensor) -> Tensor:
    """Results of a loop over images (..., B, 1, H, W), which are broadcast: (..., B, results)."""
    shape = torch.broadcast_shapes(*(image.shape for image in images))
    whole = [image.expand(shape).detach() for image in images]
    planes = [
        [image[place].contiguous().numpy() for image in whole]
        for place in product(*map(range, shape[:-2]))
    ]
    results = (
        parallel_map(lambda images: loop(*images), planes) if planes[1:] else [loop(*planes[0])]
    )
    return torch.from_numpy(np.array(results, np.float64)).view(*shape[:-3], -1)
