"""Errors of the library as the command line prints them: a setting becomes a flag."""

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
