"""The value range of the results of a folder, stored beside them so that a rerun uses the same."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from cddfuse.errors import InputError
from cddfuse.io import Ranges, replacing

NAME = "fuse.json"


def ranges_for(folder: Path, texts: Sequence[str], *, overwrite: bool) -> Ranges:
    """The ranges of a run in a folder: those given, or else those its results have."""
    stored = _stored(folder)
    if stored is None or overwrite:
        return Ranges.parse(texts)
    if not texts:
        return stored
    given = Ranges.parse(texts)
    if given != stored:
        raise InputError(
            f"the results in {folder} have the value range {' '.join(stored.texts)}: use the same, "
            "another folder, or overwrite them.",
            setting="overwrite",
        )
    return given


def store(folder: Path, ranges: Ranges) -> None:
    """Write the ranges of a run, if its images are not used as they are."""
    if not any(rule.given for rule in ranges):
        return
    with replacing(folder / NAME) as temporary:
        temporary.write_text(json.dumps({"range": ranges.texts}) + "\n", encoding="utf-8")


def _stored(folder: Path) -> Ranges | None:
    path = folder / NAME
    if not os.path.isfile(path):
        return None
    try:
        return Ranges.parse(json.loads(path.read_text(encoding="utf-8"))["range"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged: remove it, or give the range.", "range") from error
