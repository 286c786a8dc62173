"""A word before Numba compiles: it does so when something is first used, and takes a while."""

import logging
from functools import cache

from numba.core import event

_log = logging.getLogger(__name__)


class _Word(event.Listener):
    """Says it once."""

    said = False

    def on_start(self, _: event.Event) -> None:
        """Something is compiled that was not found on disk."""
        if not self.said:
            self.said = True
            _log.warning("compiling for this processor, the first time only: half a minute or more")

    def on_end(self, _: event.Event) -> None:
        """Nothing to say."""


@cache
def announce() -> None:
    """Have it said, if this process compiles anything."""
    event.register("numba:compile", _Word())  # type: ignore[no-untyped-call]
