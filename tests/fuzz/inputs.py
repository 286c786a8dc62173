"""The inputs of a campaign, each made from the seed and its number alone."""

import shutil
from pathlib import Path
from random import Random
from tempfile import mkdtemp
from typing import NamedTuple

from fuzz.mutations import mutated
from fuzz.targets import TARGETS

from cddfuse.errors import InputError


class Input(NamedTuple):
    """A damaged file and where it goes."""

    target: str
    name: str
    """Of the file it was made from."""

    data: bytes
    random: Random
    """Decides about settings."""


def made(seed: int, number: int, only: str | None = None) -> Input:
    """An input of a campaign.

    Args:
        seed: of the campaign.
        number: of the input.
        only: a target that is wanted; by default each has its share.
    """
    random = Random(f"{seed}/{number}")
    shares = [target.share for target in TARGETS.values()]
    target = only or random.choices(list(TARGETS), shares)[0]
    files = TARGETS[target].files()
    name = random.choice(list(files))
    data = mutated(files[name], random, list(files.values()))
    return Input(target, name, data, random)


def outcome(tried: Input, folder: Path) -> str:
    """Use an input: `result` or `refused`; whatever else is raised is a fault."""
    room = Path(mkdtemp(dir=folder))
    try:
        path = room / tried.name
        path.write_bytes(tried.data)
        TARGETS[tried.target].act(path, tried.random)
    except InputError as error:
        _sentence(error)
        return "refused"
    finally:
        shutil.rmtree(room, ignore_errors=True)
    return "result"


def _sentence(error: InputError) -> None:
    text = str(error)
    assert text.endswith("."), f"messages are sentences: {text!r}"
