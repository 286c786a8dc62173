"""Keep freed memory with the process, which the command line asks for when it starts.

The C library of Linux gives every large block back to the system and has it faulted in again, page
by page, at every layer. Keeping it made this network several times faster on some machines. The
price is a higher peak. The library never does this to a program that imports it.
"""

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


def keep_memory() -> bool:
    """Tell glibc to keep large blocks. Off with CDDFUSE_ALLOCATOR=system. True if it listened."""
    if sys.platform != "linux" or os.environ.get("CDDFUSE_ALLOCATOR") == "system":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library
        return False
    return bool(mallopt(_MMAP_THRESHOLD, 2**30) and mallopt(_TRIM_THRESHOLD, 2**31 - 1))
