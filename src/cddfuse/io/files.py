"""Put a file in its place whole, or not at all."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cddfuse.errors import InputError

_ELSEWHERE = "choose another folder with -o"
_TROUBLE = {
    errno.ENOSPC: f"the disk is full: free space or {_ELSEWHERE}",
    errno.EDQUOT: f"your disk quota is used up: free space or {_ELSEWHERE}",
    errno.EACCES: f"permission is denied: {_ELSEWHERE}",
    errno.EPERM: f"permission is denied: {_ELSEWHERE}",
    errno.EROFS: f"the disk is read-only: {_ELSEWHERE}",
    errno.ENOTDIR: f"a file is in the way where a folder is needed: {_ELSEWHERE}",
    errno.EEXIST: f"a file is in the way where a folder is needed: {_ELSEWHERE}",
    errno.EISDIR: "a folder of that name is in the way: choose another name with -o",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one with -o",
}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a hidden path beside `path`; what is written there moves to `path` on success.

    Missing parent folders are made. If the block fails, an older file at `path` stays as it was and
    the unfinished one is removed.
    """
    unique = f".cddfuse-{os.getpid()}-{secrets.token_hex(4)}"
    temporary = path.with_name(unique + _suffix(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno not in _TROUBLE:
            raise
        raise InputError(f"cannot write {path}: {_TROUBLE[error.errno]}.") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _suffix(path: Path) -> str:
    """Writers that choose the format by name look at both halves of `.nii.gz`."""
    return "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix
