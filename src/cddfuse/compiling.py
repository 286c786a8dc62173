"""JIT compilation: Numba compiles a function when it is first used, and keeps it on disk.

A notice says so, and further processes take a share: Numba compiles one function at a time in each.
"""

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from itertools import chain
from pathlib import Path
from threading import Condition, Lock, Thread
from types import ModuleType
from typing import IO

from numba.core import event

_log = logging.getLogger(__name__)
_PROGRAM = Path(__file__).with_name("compile_apart.py")
_MOST = 3  # further processes
_PATIENCE = 60  # seconds that another process may take for one function
_one_at_a_time = Lock()


class _Notice(event.Listener):
    """Logs one warning when the first function is compiled."""

    given = False

    def on_start(self, _: event.Event) -> None:
        """A function is compiled that is not in the cache on disk."""
        if not self.given:
            self.given = True
            _log.warning("compiling for this processor, the first time only: ten seconds or more")

    def on_end(self, _: event.Event) -> None:
        """Compilation has finished."""


@cache
def announce() -> None:
    """Give notice if this process compiles anything."""
    event.register("numba:compile", _Notice())  # type: ignore[no-untyped-call]


def compile_all(kernels: ModuleType, workers: int) -> None:
    """Compile the functions of a module, or load them from the cache on disk.

    Args:
        kernels: has `SIGNATURES`, from the name of a function to the types of its arguments.
        workers: processes among which what is missing is divided, this one included.
    """
    names = list(kernels.SIGNATURES)
    with _one_at_a_time, _help(kernels.__name__, names, min(workers - 1, _MOST)) as wait_for:
        for name in names:
            wait_for(name)
            getattr(kernels, name).compile(kernels.SIGNATURES[name])


@contextmanager
def _help(module: str, names: Sequence[str], count: int) -> Iterator[Callable[[str], None]]:
    """Further processes, begun when something is compiled, which start with the last functions.

    Gives what waits for a function if another process is compiling it.
    """
    with ExitStack() as processes:
        helpers: list[_Helper] = []

        class Start(event.Listener):
            def on_start(self, _: event.Event) -> None:
                if not helpers and count > 0 and _is_python():
                    shares = (names[::-1][place::count] for place in range(count))
                    helpers.extend(_Helper(module, share) for share in shares)
                    for helper in helpers:
                        processes.callback(helper.stop)

            def on_end(self, _: event.Event) -> None:
                pass

        def wait_for(name: str) -> None:
            for helper in helpers:
                helper.wait_for(name)

        with event.install_listener("numba:compile", Start()):
            yield wait_for


def _is_python() -> bool:
    """Whether the program of this process is Python, and not one that has Python in it."""
    return Path(sys.executable or "").name.lower().startswith("python")


class _Helper:
    """A process that compiles functions; nothing is lost if it fails."""

    def __init__(self, module: str, names: Sequence[str]) -> None:
        self._at = ""
        self._changed = Condition()
        self._process = subprocess.Popen(
            [sys.executable, str(_PROGRAM), module, *names],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        self._listener = Thread(target=self._listen, args=(self._process.stdout,), daemon=True)
        self._listener.start()

    def _listen(self, lines: IO[str]) -> None:
        """Note which function it is at; none when it has ended."""
        with lines:
            for line in chain(lines, ("",)):
                with self._changed:
                    self._at = line.strip()
                    self._changed.notify_all()

    def wait_for(self, name: str) -> None:
        """Return when it is not at that function."""
        with self._changed:
            self._changed.wait_for(lambda: self._at != name, _PATIENCE)

    def stop(self) -> None:
        """End the process: what it still does is done already."""
        self._process.terminate()
        self._process.wait()
        self._listener.join()
