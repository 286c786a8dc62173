"""How much memory the process has used."""

import psutil

try:
    import resource
except ImportError:  # on Windows
    resource = None  # type: ignore[assignment]


def peak_memory() -> int:
    """Largest resident size of the process so far, in bytes."""
    if resource is None:
        return psutil.Process().memory_info().peak_wset
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if psutil.MACOS else peak * 1024
