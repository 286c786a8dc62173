"""Peak memory of this process."""

import sys
from contextlib import suppress
from pathlib import Path

import psutil


def peak_bytes() -> int:
    """Largest resident set so far, or since `reset_peak`."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def reset_peak() -> None:
    """Forget the peak so far. Linux only."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
