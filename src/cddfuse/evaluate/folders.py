"""Find the fused image of each pair in the folder of any tool."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from cddfuse.errors import InputError
from cddfuse.io import SUFFIXES, PairedPaths
from cddfuse.pair import ImagePair

AnyPair = PairedPaths | ImagePair
"""A pair of files, or of images in memory."""

_BREAK = re.compile(r"[\W_]")


class Matched(NamedTuple):
    """Which file is the result of which pair."""

    files: dict[str, Path]
    """By name of the pair, in the order of the pairs."""

    missing: list[str]
    """Names of pairs without a result."""

    unmatched: list[Path]
    """Images that are the result of no pair."""


def match_fused(folder: Path, pairs: Sequence[AnyPair]) -> Matched:
    """Match files to pairs: named like the pair or one of its files, plus what the tool adds.

    What a tool adds before or after the name, such as `_fused`, must be the same for all of its
    files and parted from the name by a character like `_`. Of several such additions the one with
    the most files counts; the plain names win a tie.
    """
    images = _images(folder)
    names = _names(pairs)
    found: dict[tuple[str, str], dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for path in images:
        for before, name, after in _parts(path.stem):
            if name in names:
                found[before, after][names[name]].append(path)
    if not found:
        known = pairs[0].name if pairs else "none"
        raise InputError(
            f"no image of {folder} ({images[0].name}, ...) has the name of a pair ({known}, ...): "
            "name each result like its sources, with the same ending or none."
        )
    ranked = sorted(found, key=lambda added: (-len(found[added]), added != ("", "")))
    best = found[ranked[0]]
    for added in ranked[1:]:
        rival = found[added]
        shared = [name for name in best if name in rival and rival[name] != best[name]]
        if any(ranked[0]) and len(rival) == len(best) and shared:
            _refuse(best[shared[0]][0], rival[shared[0]][0])
    for paths in best.values():
        if len(paths) > 1:
            _refuse(*paths[:2])
    files = {pair.name: best[pair.name][0] for pair in pairs if pair.name in best}
    taken = set(files.values())
    return Matched(
        files,
        [pair.name for pair in pairs if pair.name not in files],
        [path for path in images if path not in taken],
    )


def _refuse(one: Path, other: Path) -> None:
    raise InputError(
        f"{one} and {other} could both be the result of the same pair: "
        "keep the results of one method in one folder."
    )


def _names(pairs: Sequence[AnyPair]) -> dict[str, str]:
    """All that the result of a pair may be called, and the name of the pair."""
    sides = (
        (side.stem, pair.name)
        for pair in pairs
        if isinstance(pair, PairedPaths)
        for side in (pair.first, pair.second)
    )
    return {**dict(sides), **{pair.name: pair.name for pair in pairs}}


def _parts(stem: str) -> Iterator[tuple[str, str, str]]:
    """Every way to see a name between two additions."""
    breaks = [match.start() for match in _BREAK.finditer(stem)]
    for start in (0, *(place + 1 for place in breaks)):
        for end in (len(stem), *breaks):
            if start < end:
                yield stem[:start], stem[start:end], stem[end:]


def _images(folder: Path) -> list[Path]:
    try:
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise InputError(f"cannot open the folder {folder} ({error.strerror}).") from error
    images = [path for path in entries if path.suffix.lower() in SUFFIXES and not path.is_dir()]
    if not images:
        raise InputError(f"{folder} holds no images: they end with one of {', '.join(SUFFIXES)}.")
    return images
