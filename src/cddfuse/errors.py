"""The one exception for what a user can mend."""

from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """Something handed in is unusable. The message is one sentence that names it and the cure.

    The command line prints the message and exits with 2; any other exception is a bug of ours
    and keeps its traceback.
    """


@contextmanager
def trouble(doing: str, foreign: type[Exception] = OSError) -> Iterator[None]:
    """Put trouble of the machine, and what else is `foreign`, into a sentence for the user."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if isinstance(error, MemoryError) or "memory" in str(error):  # torch: a RuntimeError
            text = f"cannot {doing}: the memory is too small; use smaller images."
            raise InputError(text) from error
        if not isinstance(error, foreign):
            raise
        raise InputError(f"cannot {doing} ({error}): check the files and the disk.") from error
