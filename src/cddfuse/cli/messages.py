"""What the command line prints of errors: settings of the library become flags."""

import os

from cyclopts import (
    CycloptsError,
    MissingArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from cddfuse.errors import InputError
from cddfuse.io import Skipped

_SHORT = {"output": "-o"}


def flag(setting: str) -> str:
    """The flag of a setting."""
    return _SHORT.get(setting, f"--{setting.replace('_', '-')}")


def sentence(error: InputError) -> str:
    """The message in one line, with the flags that cure it."""
    text = " ".join(str(error).split())
    if error.setting is None:
        return text
    settings = (error.setting,) if isinstance(error.setting, str) else error.setting
    return f"{text.removesuffix('.')} ({', '.join(map(flag, settings))})."


def left_out(skipped: Skipped) -> str:
    """A line about a file that was not taken, with the flag that includes it."""
    text = f"{skipped.reason}: {skipped.path}"
    return f"{text} ({flag(skipped.setting)})" if skipped.setting else text


def misuse(error: CycloptsError, verb: str | None) -> str:
    """What is wrong with a command line that calls a verb, in one line."""
    chain = error.command_chain or filter(None, [verb])
    command = " ".join(("cddfuse", *chain))
    word = (error.unused_tokens or [""])[0]
    if isinstance(error, UnknownCommandError):
        # Its own text would import every verb, and so what only training needs.
        known = ", ".join(name for name in error.app or () if not name.startswith("-"))
        return f"there is no command {word}: known are {known}."
    if isinstance(error, UnusedCliTokensError):
        return f"{word} is one word too many: `{command} --help` says what it takes."
    if isinstance(error, MissingArgumentError) and error.argument and not error.keyword:
        return f"{error.argument.name} is missing: `{command} --help` says what it takes."
    text = " ".join(str(error).split())
    if isinstance(error, UnknownOptionError) and os.path.lexists(error.token.value):
        return f"{text} For the file of that name, write ./{error.token.value}."
    return text
