"""Jobs in processes of their own, as users start them."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from tempfile import TemporaryFile
from typing import NamedTuple

from faults.child import Facts

_LONGEST = 600.0  # seconds that a command may take on a busy machine


class Ended(NamedTuple):
    """What a process left behind."""

    code: int
    """Its exit code; negative for signals."""

    said: str
    """What it printed."""

    stamps: Sequence[float]
    """Seconds from the first call of the system in its folders to each, and to the end."""


class Command:
    """A command that runs.

    Args:
        arguments: of `cddfuse`.
        folder: whose calls of the system are seen.
        at: before which of them something happens inside.
        act: what.
        bound: whether root gives up passing over permissions.
    """

    def __init__(
        self,
        arguments: Sequence[object],
        folder: str,
        *,
        at: int = 0,
        act: str = "",
        bound: bool = False,
    ) -> None:
        self._reading, writing = os.pipe()
        self._said = TemporaryFile()  # noqa: SIM115
        facts = json.dumps(Facts(folder, writing, at, act, bound)._asdict())
        words = [sys.executable, "-m", "faults.child", facts, *map(str, arguments)]
        self._process = subprocess.Popen(
            words, pass_fds=[writing], stdout=self._said, stderr=self._said
        )
        os.close(writing)
        self._stamps: list[float] = []
        self._open, self._until = True, time.monotonic() + _LONGEST

    def reaches(self, number: int) -> bool:
        """Wait for a call of the system; whether there was one before the end."""
        while self._open and len(self._stamps) < number:
            self._look()
        return len(self._stamps) >= number

    def kill(self) -> None:
        """SIGKILL."""
        self._process.send_signal(signal.SIGKILL)

    def ended(self) -> Ended:
        """Wait for the end."""
        while self._open:
            self._look()
        code = self._process.wait()
        end = time.monotonic()
        os.close(self._reading)
        self._said.seek(0)
        said = self._said.read().decode("utf-8", "replace")
        self._said.close()
        first = self._stamps[0] if self._stamps else end
        return Ended(code, said, [stamp - first for stamp in (*self._stamps, end)])

    def _look(self) -> None:
        if select.select([self._reading], [], [], 1)[0]:
            found = os.read(self._reading, 65536)
            self._stamps += [time.monotonic()] * len(found)
            self._open = bool(found)
        elif time.monotonic() > self._until:
            self.kill()
