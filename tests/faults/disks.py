"""Small disks, and root that is bound by permissions. Linux."""

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

_REMOUNT, _READ_ONLY, _DETACH = 32, 1, 2  # mount(2), umount2(2)
_CAPABILITIES_VERSION = 0x20080522  # capabilities(7): sets of 64 bits, in two halves
_PASSES = (1 << 1) | (1 << 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


@contextlib.contextmanager
def mounted(folder: Path, size: str) -> Iterator[None]:
    """A disk in memory at a folder."""
    _mount(folder, f"size={size}", 0)
    try:
        yield
    finally:
        _libc().umount2(os.fsencode(folder), _DETACH)


def remount(folder: Path | str, option: str) -> None:
    """Change a disk.

    Args:
        folder: where it is.
        option: `size=...`, `ro` or `rw`.
    """
    flags = _REMOUNT | (_READ_ONLY if option == "ro" else 0)
    _mount(folder, option if "=" in option else "", flags)


def can_mount() -> bool:
    """Whether this process may mount disks."""
    with TemporaryDirectory() as folder, contextlib.suppress(OSError):
        with mounted(Path(folder), "64k"):
            pass
        return True
    return False


def give_up_permissions() -> None:
    """Bind this process by the permissions of files, which root passes over otherwise."""
    libc = _libc()
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable, of two halves
    if libc.capget(header, sets):
        raise OSError(ctypes.get_errno(), "cannot read the capabilities")
    for place in range(3):
        sets[place] &= ~_PASSES
    if libc.capset(header, sets):
        raise OSError(ctypes.get_errno(), "cannot give up capabilities")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _mount(folder: Path | str, options: str, flags: int) -> None:
    kind = b"tmpfs"
    if _libc().mount(kind, os.fsencode(folder), kind, flags, options.encode()):
        raise OSError(ctypes.get_errno(), f"cannot mount at {folder}")
