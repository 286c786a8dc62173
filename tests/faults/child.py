"""A command of `cddfuse` in a process of its own, seen and disturbed at its calls of the system.

python -m faults.child FACTS ARGUMENT...
"""

import atexit
import itertools
import json
import os
import runpy
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import psutil

_EVENTS = {
    *("open", "os.chmod", "os.link", "os.listdir", "os.mkdir", "os.remove", "os.rename"),
    *("os.rmdir", "os.scandir", "os.truncate", "os.utime", "shutil.rmtree"),
}


class Facts(NamedTuple):
    """What a child is told."""

    folder: str
    """Calls that name something in it are seen."""

    pipe: int = -1
    """Takes a byte for each of them."""

    at: int = 0
    """Number of the call before which something happens; 0 is none."""

    act: str = ""
    """`die`, `yesterday` or the folder of a disk that becomes read-only."""

    bound: bool = False
    """Whether root gives up passing over the permissions of files."""

    modules: str = ""
    """A file that takes the names of all modules that the command has needed."""


class _Watch:
    """Sees the calls."""

    def __init__(self, facts: Facts) -> None:
        self._facts, self._numbers = facts, itertools.count(1)
        self._done = not facts.at

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """What Python calls."""
        if event not in _EVENTS or not any(map(self._own, arguments)):
            return
        number = next(self._numbers)
        os.write(self._facts.pipe, b".")
        if not self._done and number >= self._facts.at:
            self._done = _happens(self._facts.act)

    def _own(self, argument: object) -> bool:
        text = os.fsdecode(argument) if isinstance(argument, (str, bytes, os.PathLike)) else ""
        return text.startswith(self._facts.folder)


def _happens(act: str) -> bool:
    """Whether it has happened; a disk with files that are being written to is not ready."""
    if act == "die":
        psutil.Process().kill()  # SIGKILL
    elif act == "yesterday":
        now = time.time
        time.time = lambda: now() - 86400.0
    else:
        from faults.disks import remount

        try:
            remount(act, "ro")
        except OSError:
            return False
    return True


def command(facts: Facts, words: list[str]) -> None:
    """Run the command in this process."""
    sys.argv = ["cddfuse", *words]
    if facts.bound:
        from faults.disks import give_up_permissions

        give_up_permissions()
    if facts.modules:
        atexit.register(_note, Path(facts.modules))
    sys.addaudithook(_Watch(facts))
    runpy.run_module("cddfuse", run_name="__main__", alter_sys=True)


def _note(path: Path) -> None:
    path.write_text("\n".join(sys.modules), encoding="utf-8")


def warm(facts: Facts, pipe: Connection, said: str, words: list[str]) -> None:
    """Run the command in a process that a server has forked.

    Args:
        facts: what else it is told.
        pipe: takes the bytes.
        said: file that takes what it prints.
        words: its arguments.
    """
    out = os.open(said, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(out, stream)
    if len(os.listdir(f"/proc/{os.getppid()}/task")) != 1:  # others do not survive a fork
        raise RuntimeError("the server of processes has threads")
    command(facts._replace(pipe=pipe.fileno()), words)


if __name__ == "__main__":
    command(Facts(**json.loads(sys.argv[1])), sys.argv[2:])
