"""How the values of a run became [0, 1], stored beside its results so that a rerun does the same.

A folder holds it as `fuse.json`, a clip that is one file has it beside it, as `NAME.fuse.json`.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from cddfuse.errors import InputError
from cddfuse.io import Ranges, expanded, replacing
from cddfuse.io.agc import Agc, Kind

NAME = "fuse.json"


class Asked(NamedTuple):
    """What a user said about the values of images."""

    texts: tuple[str, ...] = ()
    agc: Kind | None = None
    kelvin_per_count: float | None = None
    mapping: Path | None = None
    """A folder of results, or what is stored there."""

    @property
    def nothing(self) -> bool:
        """Whether all is left to the program."""
        return self == Asked()


def ranges_for(output: Path, asked: Asked, *, overwrite: bool) -> Ranges:
    """The ranges of a run into a folder: those asked for, or else those its results have."""
    stored = None if overwrite else _stored(output / NAME)
    if stored is None:
        return _given(asked)
    if asked.nothing:
        return stored
    before = _asked_before(output / NAME)
    given = _given(asked) if asked.mapping else _given(asked, stored, before)
    if given != stored:
        raise InputError(
            f"the results in {output} have the value range {' '.join(stored.texts)}"
            f"{_others(stored)}: use the same, another folder, or overwrite them.",
            setting="overwrite",
        )
    return given


@contextmanager
def recorded(
    output: Path,
    ranges: Ranges | None,
    results: Callable[[], bool],
    *,
    asked: Sequence[str] = (),
    whole: bool = False,
) -> Iterator[None]:
    """Within, a run, whose ranges are recorded if its images are not used as they are.

    Of a folder they are recorded at once, so that a run that is killed can be resumed, and a new
    record is removed after a run without results: it would bind later ones for nothing. Of a file
    they are recorded when it is there.

    Args:
        output: the folder of the results, or the file that they are parts of.
        ranges: of all its images.
        results: whether there are any, asked at the end.
        asked: the texts that they were found by, such as `minmax`.
        whole: whether it is a file.
    """
    if ranges is None or not any(rule.given for rule in ranges):
        yield
    elif whole:
        yield
        if results():
            _store(output.with_name(f"{output.name}.{NAME}"), ranges, asked)
    else:
        new = not (output / NAME).exists()
        try:
            _store(output / NAME, ranges, asked)
            yield
        finally:
            if new and not results():
                (output / NAME).unlink(missing_ok=True)


def _store(path: Path, ranges: Ranges, asked: Sequence[str]) -> None:
    with suppress(InputError):
        if _stored(path) == ranges:
            return
    content: dict[str, Any] = {"range": ranges.texts}
    if asked:
        content["asked"] = list(asked)
    if ranges.second.kelvin_per_count is not None:
        content["kelvin_per_count"] = ranges.second.kelvin_per_count
    if ranges.second.agc != Agc():
        content["agc"] = ranges.second.agc.kind
        content["curves"] = [rule.agc.curve for rule in ranges]
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")


def _given(asked: Asked, stored: Ranges | None = None, before: Ranges | None = None) -> Ranges:
    """What was asked for; the rest, and what was asked for before, as it is stored."""
    if asked.mapping:
        return _like(asked)
    texts: Any = asked.texts
    kind, kelvin = asked.agc or "none", asked.kelvin_per_count
    if stored:
        texts = list(_texts(asked.texts, stored, before or Ranges()))
        kind = asked.agc or stored.second.agc.kind
        kelvin = asked.kelvin_per_count or stored.second.kelvin_per_count
    ranges = Ranges.parse(texts, agc=kind, kelvin_per_count=kelvin)
    if stored and kind == stored.second.agc.kind:
        ranges = _with_curves(ranges, kind, [rule.agc.curve for rule in stored])
    return ranges


def _texts(texts: Sequence[str], stored: Ranges, before: Ranges) -> Iterator[str]:
    """The texts for both sides: a side that nothing is said of, or the same again, as stored."""
    sides = {text.rpartition("=")[0].strip() for text in texts}
    rules = zip(Ranges._fields, Ranges.parse(texts), stored, before, strict=True)
    for side, rule, known, earlier in rules:
        unsaid = sides.isdisjoint(("", side))
        yield f"{side}={known if unsaid or rule == earlier else rule}"


def _like(asked: Asked) -> Ranges:
    """The ranges of an earlier run."""
    assert asked.mapping is not None
    place = expanded(asked.mapping)
    if asked != Asked(mapping=asked.mapping):
        raise InputError(
            f"the mapping of {place} says how values become grey: give it or a range, not both.",
            ("mapping", "range"),
        )
    found = _stored(place / NAME if os.path.isdir(place) else place)
    if found is None:
        raise InputError(
            f"{place} is no mapping: name a {NAME}, or a folder of results that holds one.",
            "mapping",
        )
    return found


def _with_curves(ranges: Ranges, kind: Kind, curves: Any) -> Ranges:
    gains = [Agc(kind, tuple(float(level) for level in curve)) for curve in curves]
    return Ranges(*(replace(rule, agc=gain) for rule, gain in zip(ranges, gains, strict=True)))


def _others(ranges: Ranges) -> str:
    kind, kelvin = ranges.second.agc.kind, ranges.second.kelvin_per_count
    contrast = f" with {kind}" if kind != "none" else ""
    return contrast + (f" of {kelvin:g} kelvin a count" if kelvin else "")


def _asked_before(path: Path) -> Ranges:
    """The rules of a folder as they were asked for, before they were resolved."""
    try:
        return Ranges.parse(json.loads(path.read_text(encoding="utf-8")).get("asked", ()))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> InputError:
    return InputError(f"{path} is damaged: remove it, or give the range.", "range")


def _stored(path: Path) -> Ranges | None:
    if not os.path.isfile(path):
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        kind = content.get("agc", "none")
        if kind not in ("none", "plateau", "clahe"):
            raise ValueError(kind)
        kelvin = content.get("kelvin_per_count")
        ranges = Ranges.parse(content["range"], agc=kind, kelvin_per_count=kelvin)
        return _with_curves(ranges, kind, content.get("curves", [(), ()]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path) from error
