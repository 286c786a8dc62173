"""What file names say: the modality of an image, and which names mean the same scene."""

import os
import re
import string
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal, NamedTuple

Side = Literal["first", "second", "either"]
"""The side of a pair that an image belongs to. CT is the second of PET and the first of MRI."""

_WORDS: dict[str, Side] = {
    **dict.fromkeys(("vi", "vis", "visible", "visual", "rgb", "color", "colour"), "first"),
    **dict.fromkeys(("optical", "eo", "pet", "spect"), "first"),
    **dict.fromkeys(("ir", "inf", "infrared", "thermal", "nir", "swir", "mwir"), "second"),
    **dict.fromkeys(("lwir", "fir", "tir", "mri", "mr"), "second"),
    "ct": "either",
}
_WEAK_WORDS: dict[str, Side] = {
    **dict.fromkeys(("first", "functional"), "first"),
    **dict.fromkeys(("second", "structural"), "second"),
}
"""Words that count only in names without any other, for a scene may be `first_floor`."""

_CAMERAS: dict[str, Side] = {"w": "first", "v": "first", "t": "second"}
"""Letters by which DJI names the wide, the visual and the thermal camera."""

_SEPARATORS = string.punctuation + string.whitespace
_LETTER = r"[^\W\d_]"
# A word is bounded by anything but letters, so that `chair` and `FLIR` are no infrared images.
_WORD = re.compile(
    rf"(?<!{_LETTER})({'|'.join([*_WORDS, *_WEAK_WORDS])})(?!{_LETTER})"
    rf"([ _-]?(8|10|12|14|16)[ _-]?bits?(?!{_LETTER}))?",
    re.IGNORECASE,
)
_IMAGES = re.compile(rf"(images?|imgs?)(?!{_LETTER})", re.IGNORECASE)
_CAMERA = re.compile(r"(?<![^\W_])DJI_(?:\d{14}_)?\d+(_([VWT]))(?![^\W_])", re.IGNORECASE)
_TIME = re.compile(r"(?<=dji_)(\d{14})_")
_SAME_SHOT = 5  # seconds between the files that the cameras of one drone write
_ALIKE = str.maketrans(" -", "__")
# Zeros of a fraction are no padding: 1.05 is not 1.5.
_PADDING = re.compile(r"(?<![0-9])(?<![0-9]\.)0+(?=[0-9])")


class Tag(NamedTuple):
    """A name taken apart."""

    side: Side | None
    """What the word for a modality says, if there is one."""

    rest: str
    """The name without that word; it may be empty."""


def tag(name: str, *, folder: bool = False) -> Tag:
    """Find the word for a modality in a name without suffix.

    Of several words the one at the end counts, else the one at the start, else the last.

    Args:
        name: such as `01_vi`, `IR1`, `scene_thermal_8_bit_07` or `DJI_0001_T`.
        folder: ignore the word `images`, as in `VISimages`.
    """
    if found := _CAMERA.search(name):
        return Tag(_CAMERAS[found[2].lower()], name[: found.start(1)] + name[found.end(1) :])
    text = _IMAGES.sub("", name).strip(_SEPARATORS) if folder else name
    words = list(_WORD.finditer(text))
    words = [word for word in words if word[1].lower() in _WORDS] or words
    if not words:
        return Tag(None, name)
    word = words[0] if words[0].start() == 0 and words[-1].end() < len(text) else words[-1]
    rest = _rejoined(text[: word.start()], text[word.end() :])
    side = _WORDS.get(word[1].lower())
    if side is None and (not folder or not rest):  # the folder `first_run` is no side
        side = _WEAK_WORDS[word[1].lower()]
    return Tag(side, rest) if side else Tag(None, name)


def _rejoined(before: str, after: str) -> str:
    """Two parts of a name with one run of separators between them, and none at the cut ends."""
    left, right = before.rstrip(_SEPARATORS), after.lstrip(_SEPARATORS)
    if not left or not right:
        return left or right
    return left + (before[len(left) :] or after[: -len(right)] or "_") + right


def folded(name: str) -> str:
    """A name without differences that do not show: of case and of Unicode normalisation."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def loose(name: str) -> str:
    """A folded name with `1` for `0001`, and `_` for a space or hyphen."""
    return _PADDING.sub("", folded(name).translate(_ALIKE))


def shots(names: Sequence[str]) -> list[str | None]:
    """Keys of drone images that differ at most by the second they were taken in.

    Args:
        names: after `loose`. Those without a date, as in `dji_20240101120000_1`, have no key.
    """
    series: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for index, name in enumerate(names):
        found = _TIME.search(name)
        seconds = found and _seconds(found[1])
        if found and seconds is not None:
            series[name[: found.start()] + name[found.end() :]].append((seconds, index))
    keys: list[str | None] = [None] * len(names)
    for text, times in series.items():
        before = None
        start = 0.0
        for seconds, index in sorted(times):
            if before is None or seconds - before > _SAME_SHOT:
                start = seconds
            before = seconds
            keys[index] = f"{text} {start:.0f}"
    return keys


def _seconds(date: str) -> float | None:
    try:
        return datetime.strptime(date, "%Y%m%d%H%M%S").replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return None


def natural(name: str) -> tuple[list[str | int], str]:
    """A key that sorts 2 before 10."""
    parts = re.split(r"(\d+)", name.casefold())
    return [int(part) if part.isdecimal() else part for part in parts], name


def in_order(first: Side | None, second: Side | None) -> bool | None:
    """Whether two sides are the right way round; None if that cannot be told."""
    if first is None or second is None or first == second:
        return None
    return first == "first" or second == "second"


def swapped(first: Path, second: Path) -> str | None:
    """A sentence about two files or folders that by their names are the wrong way round.

    The names of the folders they are in count too, from the innermost outwards.
    """
    wrong = names_in_order(_names_of(first), _names_of(second)) is False
    return swap_advice(first, second) if wrong else None


def names_in_order(first: Sequence[str], second: Sequence[str]) -> bool | None:
    """As `in_order`, of names with those of the folders they are in before them."""
    for one, other in zip(reversed(first), reversed(second), strict=False):
        sides = (tag(name, folder=True).side for name in (one, other))
        if one != other and (order := in_order(*sides)) is not None:
            return order
    return None


def swap_advice(first: Path, second: Path, more: int = 0) -> str:
    """The sentence about files or folders that are the wrong way round, with `more` like them."""
    others = f" (and so on for {more} more)" if more else ""
    return (
        f"by their names {second} belongs first and {first} second{others}: "
        "swap them if the colours are wrong."
    )


def _names_of(path: Path) -> tuple[str, ...]:
    whole = Path(os.path.abspath(path))
    return (*whole.parts[1:-1], whole.name if os.path.isdir(whole) else whole.stem)
