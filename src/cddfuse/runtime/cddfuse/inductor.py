"""The half blocks of CDDFuse compiled by `torch.compile`, for images of any size.

Each function is compiled once for all blocks of its kind, and for any height and width. What is
compiled is kept on disk where `prepare_process` says, for the same PyTorch, compiler and device.
"""

from functools import cache
from typing import Any

import torch

from cddfuse.runtime.cddfuse.whole import EAGER, Kernels


@cache
def compiled() -> Kernels:
    """The kernels of this process; compilation starts when they are first called."""
    functions: list[Any] = [torch.compile(x, dynamic=True, fullgraph=True) for x in EAGER]
    return Kernels(*functions)
