"""glibc's allocator: keep freed memory with the process, and tell how much of it there is.

glibc returns every large block to the system and has it faulted in again, page by page, at every
layer. Keeping it makes the plain network several times as fast on some machines, at the price of a
higher peak. Programs ask for it at their start (`prepare_process`); the library never does.
"""

import ctypes
import os
import sys
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_FIELDS = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"


class _Mallinfo(ctypes.Structure):
    """`struct mallinfo2` of malloc.h."""

    _fields_ = [(name, ctypes.c_size_t) for name in _FIELDS.split()]


@cache
def keep_memory() -> bool:
    """Tell glibc to keep large blocks. Off with CDDFUSE_ALLOCATOR=system. True if it listened."""
    if os.environ.get("CDDFUSE_ALLOCATOR") == "system":
        return False
    mallopt = _function("mallopt")
    return bool(mallopt and mallopt(_MMAP_THRESHOLD, 2**30) and mallopt(_TRIM_THRESHOLD, 2**31 - 1))


def keeps_memory() -> bool:
    """Whether glibc has been told to."""
    return bool(keep_memory.cache_info().currsize) and keep_memory()


def kept_memory() -> int:
    """Bytes that have been freed and are still with the process; 0 where nobody can tell."""
    mallinfo = _function("mallinfo2")
    if mallinfo is None:
        return 0
    mallinfo.restype = _Mallinfo
    return int(mallinfo().fordblks)


@cache
def _function(name: str) -> "ctypes._NamedFuncPointer | None":
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), name, None)  # other C libraries, and old ones, lack it
