"""How much memory the process has used."""

import sys

import psutil

if sys.platform != "win32":
    import resource


def peak_memory() -> int:
    """Largest resident size of the process so far, in bytes."""
    if sys.platform != "win32":
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if psutil.MACOS else peak * 1024
    return int(psutil.Process().memory_info().peak_wset)
