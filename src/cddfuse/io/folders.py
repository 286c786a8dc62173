"""Find out which files of one or two folders show the same scene."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from cddfuse.errors import InputError
from cddfuse.io.decode import SUFFIXES

_FIRST = (
    *("vi", "vis", "visible", "visual", "rgb", "color", "colour"),
    *("pet", "spect", "ct", "functional", "first"),
)
_SECOND = (
    *("ir", "inf", "infrared", "thermal", "lwir", "nir"),
    *("mri", "mr", "structural", "second"),
)
_WORD = f"(?P<word>{'|'.join((*_FIRST, *_SECOND))})"
# A word ends at a separator or a digit, so that `chair` and `FLIR` are no infrared images.
_AT_END = re.compile(rf"((?P<rest>.*?)[\W_]+|(?P<number>.*\d))?{_WORD}", re.IGNORECASE)
_AT_START = re.compile(rf"{_WORD}([\W_]+(?P<rest>.*)|(?P<number>\d.*))?", re.IGNORECASE)
_IMAGES = re.compile(r"[\W_]*(images?|imgs?)$", re.IGNORECASE)


class PairedPaths(NamedTuple):
    """Two files that show one scene."""

    name: str
    """What both stems have in common: without words for modalities, if there are any."""

    first: Path
    second: Path


class Pairing(NamedTuple):
    """What was found in one or two folders, in natural order: 2 before 10."""

    pairs: list[PairedPaths]
    unpaired: list[Path]


def pair_folders(first: Path, second: Path | None = None) -> Pairing:
    """Pair the images of two folders, or of one that holds both sides."""
    return match_folder(first) if second is None else match_folders(first, second)


def match_folders(first: Path, second: Path) -> Pairing:
    """Pair the images of two folders by stem.

    Those left over are paired by what remains of their stems without a word for a modality, such
    as `01_vi` and `01_ir`, or `VIS1` and `IR1`.
    """
    ones, others = _images(first), _images(second)
    pairs = _joined(_by(_stem, ones), _by(_stem, others))
    paired = {path for pair in pairs for path in pair[1:]}
    left, right = ([path for path in paths if path not in paired] for paths in (ones, others))
    taken = {pair.name for pair in pairs}
    for pair in _joined(_by(_untagged, left), _by(_untagged, right)):
        unique = pair.name and pair.name not in taken
        pairs.append(pair if unique else pair._replace(name=pair.first.stem))
    if not pairs:
        raise InputError(
            f"no image of {first} ({ones[0].name}, ...) has a partner in {second} "
            f"({others[0].name}, ...): give both files of a pair the same name."
        )
    return _pairing(pairs, [*ones, *others])


def match_folder(root: Path) -> Pairing:
    """Pair the images of one folder with two subfolders, or file names, that say the modality."""
    entries = _entries(root)
    folders = _tagged_pairs([path for path in entries if path.is_dir()])
    if len(folders) == 1:
        return match_folders(folders[0].first, folders[0].second)
    images = [path for path in entries if _is_image(path)]
    pairs = [] if folders else _tagged_pairs(images)
    if not pairs:
        found = ", ".join(path.name for path in entries[:6]) or "nothing"
        raise InputError(
            f"cannot tell the two sides in {root}, which holds {found}: name one pair of "
            f"subfolders, or the ends of file names, {'/'.join(_FIRST)} and {'/'.join(_SECOND)}, "
            "or give two folders."
        )
    return _pairing(pairs, images)


def _tagged_pairs(paths: list[Path]) -> list[PairedPaths]:
    first, second = (
        [path for path in paths if _word(path) in words] for words in (_FIRST, _SECOND)
    )
    pairs = _joined(_by(_untagged, first), _by(_untagged, second))
    return [pair if pair.name else pair._replace(name=pair.first.stem) for pair in pairs]


def _joined(first: Mapping[str, Path], second: Mapping[str, Path]) -> list[PairedPaths]:
    return [PairedPaths(name, first[name], second[name]) for name in first if name in second]


def _pairing(pairs: list[PairedPaths], images: list[Path]) -> Pairing:
    paired = {path for pair in pairs for path in pair[1:]}
    return Pairing(
        sorted(pairs, key=lambda pair: _natural(pair.first)),
        [path for path in images if path not in paired],
    )


def _by(key: Callable[[Path], str], paths: Iterable[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in paths:
        other = found.setdefault(key(path), path)
        if other is not path:
            raise InputError(
                f"{other} and {path} could both be one side of the same pair: "
                "rename or remove one of them."
            )
    return found


def _stem(path: Path) -> str:
    return path.stem


def _tag(path: Path) -> re.Match[str] | None:
    """The match of a word for a modality; of two the last, for the name may be `first_floor_ir`."""
    text = _IMAGES.sub("", path.name) if path.is_dir() else path.stem
    return _AT_END.fullmatch(text) or _AT_START.fullmatch(text)


def _word(path: Path) -> str | None:
    tag = _tag(path)
    return tag["word"].lower() if tag else None


def _untagged(path: Path) -> str:
    tag = _tag(path)
    return (tag["rest"] or tag["number"] or "") if tag else path.stem


def _images(folder: Path) -> list[Path]:
    images = [path for path in _entries(folder) if _is_image(path)]
    if not images:
        raise InputError(f"{folder} holds no images: they end with one of {', '.join(SUFFIXES)}.")
    return images


def _entries(folder: Path) -> list[Path]:
    """What is in a folder and not hidden, in natural order."""
    try:
        return sorted((p for p in folder.iterdir() if not p.name.startswith(".")), key=_natural)
    except OSError as error:
        raise InputError(f"cannot open the folder {folder} ({error.strerror}).") from error


def _is_image(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in SUFFIXES


def _natural(path: Path) -> tuple[list[str | int], str]:
    parts = re.split(r"(\d+)", path.name.casefold())
    return [int(part) if part.isdecimal() else part for part in parts], path.name
