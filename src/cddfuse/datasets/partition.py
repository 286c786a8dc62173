"""Splits of a data set into images to train on, to validate on and to test on: by scene, as text.

Pairs of one scene, and copies of one image under two names, never lie on two sides. A split is a
text file whose hash says whether two tables were made with the same one.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from cddfuse.datasets.catalog import Fingerprint
from cddfuse.datasets.fingerprints import BITS, FARTHEST
from cddfuse.errors import InputError
from cddfuse.io import replacing
from cddfuse.io.names import natural

PARTS = ("train", "val", "test")
SHARES = (8, 1, 1)
"""Of the published table of M3FD, whose lists were not published."""

_ROWS = 2048  # that are compared with all at a time
_BLOCKS = 50  # scenes that are made of consecutive names where nothing says what a scene is


@dataclass(frozen=True)
class Partition:
    """Which names are in which part."""

    name: str
    """What made it, such as `by scene, 8:1:1`."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def digest(self) -> str:
        """A hash of all names and the part of each, whatever their order."""
        lines = [f"{part} {name}" for part in PARTS for name in sorted(getattr(self, part))]
        return hashlib.sha256("\n".join(lines).encode(errors="replace")).hexdigest()

    def text(self) -> str:
        """As a file."""
        lines = [f"# {self.name}", f"# sha256 {self.digest}"]
        for part in PARTS:
            lines += ["", f"[{part}]", *getattr(self, part)]
        return "\n".join(lines) + "\n"

    def write(self, path: Path) -> None:
        """Write it, atomically."""
        with replacing(path) as temporary:
            temporary.write_text(self.text(), encoding="utf-8", errors="surrogateescape")


def read_partition(path: Path, names: Sequence[str]) -> Partition:
    """A split from a file of `Partition.write`, or from a folder of lists: train.txt, test.txt.

    Names may have suffixes and other folders, as lists of data sets do. Every name of the lists
    must be in `names`.

    Args:
        path: the file or folder.
        names: of the pairs that there are.
    """
    try:
        if path.is_dir():
            lists = {part: path / f"{part}.txt" for part in PARTS}
            lines = {
                p: f.read_text(encoding="utf-8-sig").splitlines()
                for p, f in lists.items()
                if f.is_file()
            }
            found = {part: tuple(map(str.strip, text)) for part, text in lines.items()}
            digest, title = None, f"lists of {path.name}"
        else:
            found, digest, title = _parsed(path)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a split ({error}).", "split") from error
    known = _by_last_part(names)
    parts: dict[str, tuple[str, ...]] = {}
    for part in PARTS:
        pairs = {name: _pair(name, known) for name in found.get(part, ()) if name}
        missing = [name for name, pair in pairs.items() if not pair]
        if missing:
            raise InputError(
                f"{path} has {missing[0]} in {part}, of which there is no pair: give the split of "
                "this data set.",
                setting="split",
            )
        parts[part] = tuple(pairs[name] for name in found.get(part, ()) if name)
    made = Partition(title, **parts)
    if digest is not None and digest != made.digest:
        raise InputError(
            f"{path} was changed, for its hash is another: remove the line of the hash, or restore "
            "the file.",
            setting="split",
        )
    return checked(made, path)


def _by_last_part(names: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(name.rpartition("/")[2], []).append(name)
    return found


def _pair(given: str, known: Mapping[str, Sequence[str]]) -> str:
    """The name of the pair that a list means; empty if there is none, or more than one."""
    path = Path(given)
    for last in (path.name, path.stem):
        pairs = known.get(last, ())
        whole = (path.parent / last).as_posix()
        if whole in pairs or len(pairs) == 1:
            return whole if whole in pairs else pairs[0]
    return ""


def _parsed(path: Path) -> tuple[dict[str, tuple[str, ...]], str | None, str]:
    found: dict[str, list[str]] = {}
    digest, part, title = None, None, path.name
    for line in map(str.strip, path.read_text(encoding="utf-8-sig").splitlines()):
        if line.startswith("# sha256 "):
            digest = line.split()[-1]
        elif line.startswith("#"):
            title = line.lstrip("# ")
        elif line.startswith("[") and line.endswith("]"):
            part = line[1:-1]
            if part not in PARTS:
                raise InputError(f"{path} has a part {part}: use train, val and test.", "split")
        elif line:
            if part is None:
                text = f"{path} is no split: write [train] and [test] above the names."
                raise InputError(text, "split")
            found.setdefault(part, []).append(line)
    return {part: tuple(names) for part, names in found.items()}, digest, title


def checked(made: Partition, where: object) -> Partition:
    """The split, if it has something to train and to test on, and no name twice."""
    every = [name for part in PARTS for name in getattr(made, part)]
    twice = (
        sorted(name for name in set(every) if every.count(name) > 1)
        if len(set(every)) < len(every)
        else []
    )
    if twice:
        raise InputError(f"{where} has {twice[0]} twice: keep it in one part.", "split")
    for part in ("train", "test"):
        if not getattr(made, part):
            raise InputError(
                f"{where} has no pairs in the part {part}: give other shares or another split.",
                setting=("split", "shares"),
            )
    return made


def by_scene(scenes: Mapping[str, str], shares: Sequence[int] = SHARES) -> Partition:
    """The split of this project: whole scenes, in an order that depends on their names alone.

    Args:
        scenes: the scene of each pair, by name.
        shares: of train, val and test.
    """
    if len(shares) != 3 or min(shares) < 0 or not shares[0] or not shares[2]:
        raise InputError(
            f"the shares are {':'.join(map(str, shares))}: give three, such as 8:1:1.", "shares"
        )
    groups: dict[str, list[str]] = {}
    for name in sorted(scenes, key=natural):
        groups.setdefault(scenes[name], []).append(name)
    order = sorted(
        groups, key=lambda scene: hashlib.sha256(scene.encode(errors="replace")).digest()
    )
    total = sum(map(len, groups.values()))
    wanted = {part: total * share / sum(shares) for part, share in zip(PARTS, shares, strict=True)}
    taken: dict[str, list[str]] = {part: [] for part in PARTS}
    for scene in order:  # to the part that lacks most, as a share of what it should have
        part = max(PARTS, key=lambda p: _lack(wanted[p], len(taken[p])))
        taken[part] += groups[scene]
    text = ":".join(map(str, shares))
    parts = {part: tuple(sorted(names, key=natural)) for part, names in taken.items()}
    made = Partition(f"cddfuse, by scene, {text}", **parts)
    return checked(made, f"a split {text} of {len(groups)} scenes")


def _lack(wanted: float, taken: int) -> float:
    return (wanted - taken) / wanted if wanted else -math.inf


def blocks(names: Sequence[str]) -> dict[str, str]:
    """Scenes where nothing is known of them: consecutive names, which may be of one sequence."""
    ordered = sorted(names, key=natural)
    size = math.ceil(len(ordered) / _BLOCKS)
    return {name: ordered[place - place % size] for place, name in enumerate(ordered)}


def read_scenes(path: Path, names: Sequence[str]) -> dict[str, str]:
    """The scene of each pair from a text file: a name and its scene on each line.

    Args:
        path: the file; lines that begin with # are comments.
        names: of the pairs, each of which must be in it.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read as a list of scenes ({error}).", "scene"
        ) from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        words = line.rsplit(maxsplit=1)
        if not words or line.startswith("#"):
            continue
        if len(words) != 2:
            text = (
                f"line {number} of {path} is no name and scene: write both, with a space between."
            )
            raise InputError(text, "scene")
        if found.setdefault(words[0], words[1]) != words[1]:
            raise InputError(f"{path} has two scenes of {words[0]}: keep one.", "scene")
    missing = [name for name in names if name not in found]
    if missing:
        raise InputError(
            f"{path} lacks the scene of {missing[0]} ({len(missing)} of {len(names)} pairs): add a "
            "line for each.",
            setting="scene",
        )
    return {name: found[name] for name in names}


def copies(prints: Mapping[str, Fingerprint]) -> list[tuple[str, str]]:
    """Pairs of names whose images are copies of one another, or nearly."""
    names, length = list(prints), 2 * BITS // 8
    rows = [b"".join(side.to_bytes(BITS // 8, "big") for side in mark) for mark in prints.values()]
    packed = np.frombuffer(b"".join(rows), np.uint8).reshape(len(names), length)
    signs = np.unpackbits(packed, axis=1).astype(np.float32) * 2 - 1
    found = []
    for start in range(0, len(names), _ROWS):
        # The product of signs is the number of equal bits less that of the others.
        same = signs[start : start + _ROWS] @ signs.T >= 2 * BITS - 2 * FARTHEST
        for row, column in np.argwhere(same).tolist():
            if column < start + row:
                found.append((names[start + row], names[column]))
    return found


def joined(scenes: Mapping[str, str], same: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Scenes, with those that share a copy made one."""
    root = {scene: scene for scene in scenes.values()}

    def top(scene: str) -> str:
        while root[scene] != scene:
            scene = root[scene]
        return scene

    for one, other in same:
        first, second = sorted((top(scenes[one]), top(scenes[other])))
        root[second] = first
    return {name: top(scene) for name, scene in scenes.items()}


def without_copies(
    made: Partition, same: Sequence[tuple[str, str]], copy: Literal["refuse", "drop"] = "refuse"
) -> tuple[Partition, int]:
    """A given split without images that are on two sides, and how many were dropped.

    Args:
        made: the split.
        same: of `copies`.
        copy: `refuse` is an error for the first of them; `drop` leaves them out of training.
    """
    part_of = {name: part for part in PARTS for name in getattr(made, part)}
    across = [
        (one, other)
        for one, other in same
        if one in part_of and other in part_of and part_of[one] != part_of[other]
    ]
    if not across:
        return made, 0
    if copy == "refuse":
        one, other = across[0]
        raise InputError(
            f"{one} ({part_of[one]}) and {other} ({part_of[other]}) are copies of one image, with "
            f"{len(across)} such cases in all: give another split, or drop them from training.",
            setting=("split", "duplicates"),
        )
    rank = {part: place for place, part in enumerate(PARTS)}
    dropped = {min(pair, key=lambda name: rank[part_of[name]]) for pair in across}
    parts = {
        part: tuple(name for name in getattr(made, part) if name not in dropped) for part in PARTS
    }
    name = f"{made.name}, {len(dropped)} copies dropped"
    return checked(Partition(name, **parts), made.name), len(dropped)
