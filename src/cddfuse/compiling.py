"""JIT compilation notice: Numba compiles a function when it is first used, which takes a while."""

import logging
from functools import cache

from numba.core import event

_log = logging.getLogger(__name__)


class _Notice(event.Listener):
    """Logs one warning when the first function is compiled."""

    given = False

    def on_start(self, _: event.Event) -> None:
        """A function is compiled that is not in the cache on disk."""
        if not self.given:
            self.given = True
            _log.warning("compiling for this processor, the first time only: half a minute or more")

    def on_end(self, _: event.Event) -> None:
        """Compilation has finished."""


@cache
def announce() -> None:
    """Give notice if this process compiles anything."""
    event.register("numba:compile", _Notice())  # type: ignore[no-untyped-call]
