"""Errors of the library as the command line prints them: a setting becomes a flag."""

from cddfuse.errors import InputError

_SHORT = {"output": "-o"}


def flag(setting: str) -> str:
    """The flag of a setting."""
    return _SHORT.get(setting, f"--{setting.replace('_', '-')}")


def sentence(error: InputError) -> str:
    """The message in one line, with the flag that cures it."""
    text = " ".join(str(error).split())
    if error.setting is None:
        return text
    return f"{text.removesuffix('.')} ({flag(error.setting)})."
