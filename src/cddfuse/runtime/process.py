"""Settings of the whole process, which programs make once at their start and libraries never.

The command line calls `prepare_process`; other programs that fuse (a service, a script) may.
"""

import os

import torch

from cddfuse.models.weights import cache_folder
from cddfuse.runtime.allocator import keep_memory


def prepare_process() -> None:
    """Keep freed memory, and compute convolutions on GPUs in full single precision.

    Kernels that PyTorch and Triton compile are kept in the user's cache, unless their variables
    name other places; the default is a folder that the system may empty.

    PyTorch lets GPUs round operands of convolutions to the ten bits of TF32, which leaves nothing
    of small variances; the time saved is not measurable here.
    """
    keep_memory()
    torch.backends.cudnn.allow_tf32 = False
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder("inductor")))
    os.environ.setdefault("TRITON_CACHE_DIR", str(cache_folder("triton")))
