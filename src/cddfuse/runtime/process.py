"""Settings of the whole process, which programs make once at their start and libraries never.

The command line calls `prepare_process`; other programs that fuse (a service, a script) may.
"""

import torch

from cddfuse.runtime.allocator import keep_memory


def prepare_process() -> None:
    """Keep freed memory, and compute convolutions on GPUs in full single precision.

    PyTorch lets GPUs round operands of convolutions to the ten bits of TF32, which leaves nothing
    of small variances; the time saved is not measurable here.
    """
    keep_memory()
    torch.backends.cudnn.allow_tf32 = False
