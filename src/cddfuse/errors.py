"""The one exception for errors caused by user input."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path


class InputError(ValueError):
    """The input cannot be used. The message is one sentence that names it and the cure.

    The command line prints the message and exits with 2; any other exception is a bug of this
    package and keeps its traceback.

    Args:
        message: the sentence, ending with a period. It names no flags of the command line.
        setting: Python name of the setting that cures it, such as `overwrite`, or names of several.
            The command line shows the flags of those names; applications show what they call them.
    """

    def __init__(self, message: str, setting: str | tuple[str, ...] | None = None) -> None:
        super().__init__(message)
        self.setting = setting


@contextmanager
def trouble(doing: str, foreign: type[Exception] = OSError) -> Iterator[None]:
    """Turn failures of the machine, and any other `foreign` exception, into an `InputError`."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if isinstance(error, MemoryError) or "memory" in str(error):  # torch: a RuntimeError
            text = f"cannot {doing}: out of memory; use smaller images."
            raise InputError(text) from error
        if not isinstance(error, foreign):
            raise
        raise InputError(f"cannot {doing} ({error}): check the files and the disk.") from error


def some_of(names: Collection[str]) -> str:
    """The first five of some names, for a message; dots stand for the others."""
    return ", ".join([*list(names)[:5], *(["..."] if len(names) > 5 else [])])


def folder_in_the_way(path: Path) -> InputError:
    """The error for a file that has the name of a folder, which nothing overwrites."""
    return InputError(f"{path} is a folder: give the name of a file.", "output")


def exists_already(path: Path) -> InputError:
    """The error for a result that would replace a file."""
    return InputError(f"{path} exists already: choose another name, or overwrite it.", "overwrite")
