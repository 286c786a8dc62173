"""Find the fused image of each pair in the folder of any tool."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from cddfuse.errors import InputError
from cddfuse.io import PairedPaths, Skipped
from cddfuse.io.listing import Found, enumerated, list_images, require_images
from cddfuse.io.names import folded, loose

_Key = tuple[str, ...]
"""Names of subfolders, and a stem."""

_SEPARATOR = re.compile(r"[\W_]")
_NUMBER_EDGE = re.compile(r"(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])")


class Matched(NamedTuple):
    """Which file is the result of which pair."""

    files: dict[str, Path]
    """By name of the pair, in the order of the pairs."""

    missing: list[str]
    """Names of pairs without a result."""

    unmatched: list[Path]
    """Images that are the result of no pair."""

    skipped: list[Skipped]
    """What looks like an image, or holds some, and was not considered."""


class _Affix(NamedTuple):
    """What a tool adds to the names of pairs."""

    before: str = ""
    after: str = ""
    soft: int = 0
    """How many of the two end without a separator, as in `fused1`."""


class _Candidate(NamedTuple):
    """An image that has the name of a pair, apart from an affix."""

    path: Path
    key: _Key


def match_fused(folder: Path, pairs: Sequence[PairedPaths]) -> Matched:
    """Match files to pairs: named like the pair or one of its files, plus what the tool adds.

    What a tool adds before or after the name, such as `_fused`, must be the same for all of its
    files, and end at a separator or between a letter and a digit. Of several such affixes the one
    with the most pairs counts; plain names win a tie. Equal names match first, then those that
    differ only in case, Unicode normalisation or the padding of numbers.
    """
    recursive = any("/" in pair.name for pair in pairs)
    images, skipped = list_images(folder, recursive=recursive)
    require_images(folder, images, skipped)
    files = _assigned(_best(_candidates(images, pairs), pairs), pairs)
    if not files:
        known = pairs[0].name if pairs else "none"
        raise InputError(
            f"no image of {folder} ({images[0].path.name}, ...) has the name of a pair "
            f"({known}, ...): name each result like its sources, with the same ending or none."
        )
    taken = set(files.values())
    return Matched(
        {pair.name: files[pair.name] for pair in pairs if pair.name in files},
        [pair.name for pair in pairs if pair.name not in files],
        [image.path for image in images if image.path not in taken],
        skipped,
    )


def _own_key(pair: PairedPaths) -> list[_Key]:
    return [tuple(pair.name.split("/"))]


def _source_keys(pair: PairedPaths) -> list[_Key]:
    """The stems of the files of a pair, in the subfolders of its name."""
    *folders, _ = pair.name.split("/")
    return [(*folders, path.stem) for path in (pair.first, pair.second)]


def _owners(
    pairs: Sequence[PairedPaths],
    keys: Callable[[PairedPaths], list[_Key]],
    fold: Callable[[str], str],
) -> dict[_Key, set[str]]:
    """Names of pairs by the names that their results may have."""
    owners: dict[_Key, set[str]] = defaultdict(set)
    for pair in pairs:
        for key in keys(pair):
            owners[tuple(map(fold, key))].add(pair.name)
    return owners


def _candidates(
    images: Sequence[Found], pairs: Sequence[PairedPaths]
) -> dict[_Affix, list[_Candidate]]:
    own = _owners(pairs, _own_key, loose)
    plain = [_Candidate(*image) for image in images if tuple(map(loose, image.names)) in own]
    if len({tuple(map(loose, key)) for _, key in plain}) == len(pairs):
        return {_Affix(): plain}  # no affix can do better
    known = {*own, *_owners(pairs, _source_keys, loose)}
    found: dict[_Affix, list[_Candidate]] = defaultdict(list)
    for path, (*folders, stem) in images:
        within = tuple(map(loose, folders))
        for start, end, soft in _cuts(stem):
            if (*within, loose(stem[start:end])) in known:
                affix = _Affix(folded(stem[:start]), folded(stem[end:]), soft)
                found[affix].append(_Candidate(path, (*folders, stem[start:end])))
    return found


def _cuts(stem: str) -> Iterator[tuple[int, int, int]]:
    """Start and end of every name that a stem may hold, and how many have no separator."""
    separators = [match.start() for match in _SEPARATOR.finditer(stem)]
    edges = [(match.start(), 1) for match in _NUMBER_EDGE.finditer(stem)]
    starts = [(0, 0), *((place + 1, 0) for place in separators), *edges]
    ends = [(len(stem), 0), *((place, 0) for place in separators), *edges]
    for start, soft_start in starts:
        for end, soft_end in ends:
            if start < end:
                yield start, end, soft_start + soft_end


def _best(
    found: Mapping[_Affix, list[_Candidate]], pairs: Sequence[PairedPaths]
) -> list[_Candidate]:
    """The candidates of one affix. Two that fit equally well are an error."""
    if not found:
        return []
    owners = {**_owners(pairs, _source_keys, loose), **_owners(pairs, _own_key, loose)}
    exact = {*_owners(pairs, _source_keys, str), *_owners(pairs, _own_key, str)}
    results: dict[_Affix, dict[str, Path]] = {}
    ranks: dict[_Affix, tuple[int, int, int]] = {}
    for affix, candidates in found.items():
        results[affix] = {
            name: path for path, key in candidates for name in owners[tuple(map(loose, key))]
        }
        equal = sum(key in exact for _, key in candidates)
        ranks[affix] = (-len(results[affix]), -equal, affix.soft)
    best = min(found, key=lambda affix: (ranks[affix], affix != _Affix()))
    rivals = [affix for affix in found if ranks[affix] == ranks[best]]
    for name in results[best] if best != _Affix() else ():
        paths = {results[rival][name] for rival in rivals if name in results[rival]}
        if len(paths) > 1:
            raise _ambiguous(sorted(paths))
    return found[best]


def _assigned(candidates: Sequence[_Candidate], pairs: Sequence[PairedPaths]) -> dict[str, Path]:
    """The result of each pair, from equal names to those that look alike."""
    files: dict[str, Path] = {}
    for fold in (str, folded, loose):
        for keys in (_own_key, _source_keys):
            rest = [pair for pair in pairs if pair.name not in files]
            owners = _owners(rest, keys, fold)
            taken = set(files.values())
            claims: dict[str, list[Path]] = defaultdict(list)
            for path, key in candidates:
                names = owners.get(tuple(map(fold, key)), set()) if path not in taken else set()
                if len(names) > 1:
                    raise InputError(
                        f"{path} could be the result of the pairs {' and '.join(sorted(names))}: "
                        "name each result like its sources."
                    )
                for name in names:
                    claims[name].append(path)
            for name, paths in claims.items():
                if len(paths) > 1:
                    raise _ambiguous(paths)
                files[name] = paths[0]
    return files


def _ambiguous(paths: Sequence[Path]) -> InputError:
    every = "both" if len(paths) == 2 else "all"
    return InputError(
        f"{enumerated(paths)} could {every} be the result of one pair: "
        "keep the results of one method in one folder."
    )
