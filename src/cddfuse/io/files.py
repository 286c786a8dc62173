"""Atomic writes."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cddfuse.errors import InputError

_ERRORS = {
    errno.ENOSPC: "the disk is full: free some space, or choose another folder",
    errno.EDQUOT: "your disk quota is used up: free some space, or choose another folder",
    errno.EACCES: "permission is denied: choose another folder",
    errno.EPERM: "permission is denied: choose another folder",
    errno.EROFS: "the disk is read-only: choose another folder",
    errno.ENOTDIR: "a file is in the way where a folder is needed: choose another folder",
    errno.EEXIST: "a file is in the way where a folder is needed: choose another folder",
    errno.EISDIR: "a folder of that name is in the way: choose another name",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
}


def expanded(path: Path) -> Path:
    """A path with the home folder for a leading `~`, which shells leave alone in `-o=~/results`."""
    return Path(os.path.expanduser(path))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a hidden path beside `path`; the file written there replaces `path` on success.

    Missing parent folders are created. If the block fails, an older file at `path` is left
    untouched and the unfinished one is removed.
    """
    unique = f".cddfuse-{os.getpid()}-{secrets.token_hex(4)}"
    temporary = path.with_name(unique + _suffix(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno not in _ERRORS:
            raise
        text = f"cannot write {path}: {_ERRORS[error.errno]}."
        raise InputError(text, setting="output") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _suffix(path: Path) -> str:
    """Both parts of `.nii.gz`: writers choose the format by them."""
    return "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix
