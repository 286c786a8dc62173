"""Access to the compiled loops, for images on CPUs that need no gradients."""

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
    """The module `kernels`, or None where PyTorch has to do the work."""
    return _kernels() if all(map(suits_opencv, images)) else None


@cache
def _kernels() -> ModuleType | None:
    try:
        from cddfuse.compiling import announce
        from cddfuse.metrics import kernels
    except (ImportError, RuntimeError):  # no Numba for this Python, or no folder for its cache
        return None
    announce()
    return kernels


def of_each(loop: Callable[..., object], *images: Tensor) -> Tensor:
    """Call a loop on each of some images (..., B, 1, H, W), broadcast: (..., B, results)."""
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
