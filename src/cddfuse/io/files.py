"""Atomic writes."""

import errno
import os
import secrets
import shutil
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
    temporary = path.with_name(_unique() + _suffix(path))
    try:
        with _explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a hidden folder beside `path`, which takes the place of `path` on success.

    Missing parent folders are created. If the block fails, an older folder at `path` is left
    untouched and the unfinished one is removed.
    """
    temporary, old = (path.with_name(_unique()) for _ in range(2))
    try:
        with _explained(path):
            temporary.mkdir(parents=True)
            yield temporary
            if path.exists():  # folders that hold something cannot be replaced in one step
                os.rename(path, old)
            os.rename(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if old.exists() and not path.exists():
            os.rename(old, path)
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn errors that a user can mend into an `InputError`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _ERRORS:
            raise
        text = f"cannot write {path}: {_ERRORS[error.errno]}."
        raise InputError(text, setting="output") from error


def _unique() -> str:
    """A hidden name."""
    return f".cddfuse-{os.getpid()}-{secrets.token_hex(4)}"


def _suffix(path: Path) -> str:
    """Both parts of `.nii.gz`: writers choose the format by them."""
    return "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix
