"""Atomic writes.

Unfinished files and folders are hidden: `.cddfuse-NODE-PROCESS-RANDOM`. The names say whose they
are, so that on a disk which several machines share none takes or removes those of another.
"""

import errno
import hashlib
import os
import platform
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import psutil

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


def require_there(path: Path, setting: str | None = None) -> None:
    """Refuse a path where nothing is, or where nobody may look."""
    try:
        os.stat(path)
    except PermissionError as error:
        text = f"cannot open {path} ({error.strerror}): check its permissions."
        raise InputError(text, setting=setting) from error
    except (OSError, ValueError) as error:
        text = f"there is no file or folder {path}: check the name."
        raise InputError(text, setting=setting) from error


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
    temporary = path.with_name(_unique())
    old = path.with_name(f"{_unique()}~{path.name}")
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


def remove_abandoned(folder: Path) -> None:
    """Remove what processes of this machine that were killed left unfinished in a folder.

    A folder that was being replaced is put back, if nothing has taken its place.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for name in [entry.name for entry in entries if entry.name.startswith(_HIDDEN)]:
            found = _NAME.match(name)
            if not found or found[1] != node() or psutil.pid_exists(int(found[2])):
                continue
            left, place = folder / name, folder / (found[3] or "")
            with suppress(OSError):
                if found[3] and not os.path.lexists(place):
                    os.rename(left, place)
                elif os.path.isdir(left) and not os.path.islink(left):
                    shutil.rmtree(left)
                else:
                    left.unlink()


@cache
def node() -> str:
    """Eight digits for this machine until it starts anew: where a process number counts."""
    facts = [platform.node()]
    with suppress(OSError):
        facts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
    with suppress(OSError):
        facts.append(os.readlink("/proc/self/ns/pid"))  # containers number their own
    return hashlib.blake2b("\n".join(facts).encode(), digest_size=4).hexdigest()


_HIDDEN = ".cddfuse-"
_NAME = re.compile(rf"{re.escape(_HIDDEN)}([0-9a-f]{{8}})-([0-9]+)-[0-9a-f]{{8}}(?:~(.+)|\.|$)")


def _unique() -> str:
    """A hidden name."""
    return f"{_HIDDEN}{node()}-{os.getpid()}-{secrets.token_hex(4)}"


def _suffix(path: Path) -> str:
    """Both parts of `.nii.gz`: writers choose the format by them."""
    return "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix
