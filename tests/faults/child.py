"""A command of `cddfuse` in a process of its own, seen and disturbed at its calls of the system.

python -m faults.child FACTS ARGUMENT...
"""

import itertools
import json
import os
import runpy
import signal
import sys
import time
from typing import Any, NamedTuple

assert sys.platform != "win32"  # it needs signals

_EVENTS = {
    *("open", "os.chmod", "os.link", "os.listdir", "os.mkdir", "os.remove", "os.rename"),
    *("os.rmdir", "os.scandir", "os.truncate", "os.utime", "shutil.rmtree"),
}


class Facts(NamedTuple):
    """What a child is told."""

    folder: str
    """Calls that name something in it are seen."""

    pipe: int
    """Takes a byte for each of them."""

    at: int = 0
    """Number of the call before which something happens; 0 is none."""

    act: str = ""
    """`die`, `yesterday` or the folder of a disk that becomes read-only."""

    bound: bool = False
    """Whether root gives up passing over the permissions of files."""


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
        os.kill(os.getpid(), signal.SIGKILL)
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


def main() -> None:
    """Run the command."""
    facts = Facts(**json.loads(sys.argv[1]))
    sys.argv = ["cddfuse", *sys.argv[2:]]
    if facts.bound:
        from faults.disks import give_up_permissions

        give_up_permissions()
    sys.addaudithook(_Watch(facts))
    runpy.run_module("cddfuse", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
