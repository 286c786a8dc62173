"""Jobs in processes of their own, as users start them."""

import json
import multiprocessing
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, NamedTuple

from faults.child import Facts, warm

_LONGEST = 1800.0  # seconds that a command may take on a busy machine


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
        facts: what else its process is told; the pipe is made here.
        server: forks the process; by default it is started anew, as users do.
    """

    def __init__(
        self, arguments: Sequence[object], facts: Facts, server: "Server | None" = None
    ) -> None:
        self._reader, writer = multiprocessing.Pipe(duplex=False)
        self._said = NamedTemporaryFile()  # noqa: SIM115
        words = list(map(str, arguments))
        if server:
            self._process: Any = server.start(facts, writer, self._said.name, words)
        else:
            self._process = self._started(facts, writer.fileno(), words)
        writer.close()
        self._stamps: list[float] = []
        self._open, self._until = True, time.monotonic() + _LONGEST

    def _started(self, facts: Facts, pipe: int, words: list[str]) -> "subprocess.Popen[bytes]":
        told = json.dumps(facts._replace(pipe=pipe)._asdict())
        program = [sys.executable, "-m", "faults.child", told, *words]
        out = self._said.file
        return subprocess.Popen(program, pass_fds=[pipe], stdout=out, stderr=out)

    def reaches(self, number: int) -> bool:
        """Wait for a call of the system; whether there was one before the end."""
        while self._open and len(self._stamps) < number:
            self._look()
        return len(self._stamps) >= number

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def ended(self) -> Ended:
        """Wait for the end."""
        while self._open:
            self._look()
        if isinstance(self._process, subprocess.Popen):
            code = self._process.wait()
        else:
            self._process.join()
            code = self._process.exitcode
        end = time.monotonic()
        self._reader.close()
        said = Path(self._said.name).read_bytes().decode("utf-8", "replace")
        self._said.close()
        first = self._stamps[0] if self._stamps else end
        return Ended(code, said, [stamp - first for stamp in (*self._stamps, end)])

    def _look(self) -> None:
        if select.select([self._reader], [], [], 1)[0]:
            found = os.read(self._reader.fileno(), 65536)
            self._stamps += [time.monotonic()] * len(found)
            self._open = bool(found)
        elif time.monotonic() > self._until:
            self.kill()


class Server:
    """Forks processes in which all modules are loaded and nothing has been computed.

    They are processes of their own, as users have them after loading the modules, in a tenth of
    the time. The server has one thread only, which each of them checks.

    Args:
        modules: that are loaded.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        self._context: Any = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["faults.child", *modules])

    def start(self, facts: Facts, pipe: Any, said: str, words: list[str]) -> Any:
        """A process that runs a command; see `faults.child.warm`."""
        process = self._context.Process(target=warm, args=(facts, pipe, said, words))
        process.start()
        return process
