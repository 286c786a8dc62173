"""The pairs of a run: chosen once, noted with a hash of every file, and found again later.

A resumed run ends with the same weights only if it sees the same pictures, so it refuses others.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cddfuse.datasets.base import PairFolder, Reader, held_out
from cddfuse.datasets.crops import grid_contrast
from cddfuse.errors import InputError, trouble
from cddfuse.io import PairedPaths, Ranges, pair_folders, replacing, resolve
from cddfuse.pair import ImagePair
from cddfuse.recipes import Recipe
from cddfuse.recipes.settings import read_settings, write_settings

PAIRS, CROPS = "pairs.yaml", "crops.npy"
VAL_SHARE, VAL_GROUP = 0.06, 0
_BLOCK = 2**20
_THREADS = 4

Say = Callable[[str | InputError], None]
Kept = NDArray[np.bool_]


@dataclass(frozen=True)
class DataRequest:
    """The data that were asked for; None is left to defaults."""

    first: Path | None = None
    """Folder of first images, or of both kinds."""

    second: Path | None = None

    extra: tuple[Path, ...] = ()
    """More folders of both kinds."""

    val: tuple[Path, ...] = ()
    """One or two folders of validation pairs."""

    val_share: float | None = None
    val_group: int | None = None
    resize: bool = False
    recursive: bool = False
    """Pair images of subfolders too."""

    ranges: Ranges | None = None
    """How values become [0, 1]; `auto` by default."""

    @property
    def folders(self) -> list[Path]:
        """All that were named."""
        return [path for path in (self.first, self.second, *self.extra, *self.val) if path]


class FileRecord(NamedTuple):
    """A file, and how to tell whether it is still the same."""

    path: Path
    size: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "FileRecord":
        """The record of a file as it is now."""
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        return cls(path.resolve(), path.stat().st_size, digest.hexdigest())

    def same_in(self, path: Path) -> bool:
        """Whether another file has the same content."""
        return path.stat().st_size == self.size and self.of(path).sha256 == self.sha256


class PairRecord(NamedTuple):
    """A pair of a run."""

    name: str
    first: FileRecord
    second: FileRecord
    height: int
    width: int

    @property
    def paths(self) -> PairedPaths:
        """Where it is."""
        return PairedPaths(self.name, self.first.path, self.second.path)

    def at(self, paths: PairedPaths) -> "PairRecord":
        """The same pair in another place."""
        first, second = paths.first.resolve(), paths.second.resolve()
        return self._replace(
            first=self.first._replace(path=first), second=self.second._replace(path=second)
        )

    def row(self) -> list[Any]:
        """Plain values."""
        files = [[str(file.path), file.size, file.sha256] for file in (self.first, self.second)]
        return [self.name, *chain(*files), self.height, self.width]

    @classmethod
    def of_row(cls, row: Sequence[Any]) -> "PairRecord":
        """What `row` gave."""
        name, one, one_size, one_hash, two, two_size, two_hash, height, width = row
        first, second = (
            FileRecord(Path(one), one_size, one_hash),
            FileRecord(Path(two), two_size, two_hash),
        )
        return cls(name, first, second, height, width)


@dataclass(frozen=True)
class RunData:
    """The pairs of a run."""

    train: list[PairRecord]
    val: list[PairRecord]

    val_share: float | None
    """None if validation pairs have folders of their own."""

    val_group: int
    resize: bool

    rules: Ranges
    """How the value ranges were to be found."""

    ranges: Ranges
    """What they are, the same for all pairs."""

    kept: Kept | None = None
    """Which training crops on the grid have enough contrast, if that matters."""

    def folder(self, records: Sequence[PairRecord], reader: Reader) -> PairFolder:
        """Pairs to read."""
        sizes = [(record.height, record.width) for record in records]
        return PairFolder([record.paths for record in records], reader, sizes)

    def write(self, folder: Path) -> None:
        """Note the pairs in the run's folder."""
        rows = {
            key: [record.row() for record in records]
            for key, records in (("train", self.train), ("val", self.val))
        }
        settings = {key: vars(self)[key] for key in ("val_share", "val_group", "resize")}
        settings["range"], settings["found_range"] = self.rules.texts, self.ranges.texts
        write_settings(folder / PAIRS, {**settings, **rows}, width=10_000)
        if self.kept is not None:
            with replacing(folder / CROPS) as temporary:
                np.save(temporary, self.kept)

    @classmethod
    def read(cls, folder: Path) -> "RunData":
        """What `write` noted."""
        path, crops = folder / PAIRS, folder / CROPS
        settings = read_settings(path)
        try:
            for key in ("train", "val"):
                settings[key] = [PairRecord.of_row(row) for row in settings[key]]
            rules, ranges = (Ranges.parse(settings.pop(x)) for x in ("range", "found_range"))
            kept = np.load(crops, allow_pickle=False) if crops.is_file() else None
            return cls(**settings, rules=rules, ranges=ranges, kept=kept)
        except (KeyError, TypeError, ValueError, EOFError) as error:
            raise InputError(
                f"{path} lists no pairs of a run: it is damaged, or of another version of cddfuse."
            ) from error


def chosen(
    request: DataRequest, recipe: Recipe, reader: Reader, say: Say, advance: Callable[[], None]
) -> RunData:
    """Pair the images of the folders and read all of them once: bad files are left out.

    Args:
        request: the folders.
        recipe: decides which crops have enough contrast.
        reader: keeps the pairs if they fit into its memory.
        say: told what is left out.
        advance: called after every pair.
    """
    if request.first is None:
        raise InputError("name the folders to train on: that of visible images, then infrared.")
    share = VAL_SHARE if request.val_share is None else request.val_share
    group = VAL_GROUP if request.val_group is None else request.val_group
    reader.resize = request.resize
    pairs = _paired(request, say)
    train, val = held_out(pairs, share, group)
    if request.val:
        train, val = pairs, _val_pairs(request, say)
    rules = request.ranges or Ranges()
    reader.ranges, sentence = resolve(rules, [*train, *val])
    if sentence:
        say(sentence)
    kept: list[Kept] = []
    records = []
    for paths, look in ((train, _Look(recipe)), (val, _Look())):
        checked = PairFolder(paths, reader).checked(look, advance)
        for failure in checked.failures:
            say(failure)
        records.append([record for record, _ in checked.found])
        kept += [flags for _, flags in checked.found if flags is not None]
    if not records[0]:
        raise InputError(f"no pair of {request.first} is left to train on: see the reasons above.")
    learned = {record.first.sha256 for record in records[0]}
    if known := [record.name for record in records[1] if record.first.sha256 in learned]:
        say(f"{len(known)} of {len(records[1])} validation pairs are trained on too: {known[0]}")
    return RunData(
        records[0],
        records[1],
        None if request.val else share,
        group,
        request.resize,
        rules,
        reader.ranges,
        np.concatenate(kept) if kept else None,
    )


def resumed(
    folder: Path, request: DataRequest, recipe: Recipe, reader: Reader, say: Say
) -> RunData:
    """The pairs of a run, every file of which must be as it was.

    Args:
        folder: the run's.
        request: may name the folders that the pictures are in now; what differs otherwise is an
            error.
        recipe: the run's.
        reader: decodes pairs if which crops count is not known any more.
        say: told what is not paired in the folders.
    """
    data = RunData.read(folder)
    reader.resize, reader.ranges = data.resize, data.ranges
    _check_same(request, data)
    moved = data
    if request.first is not None or request.extra:
        moved = replace(moved, train=_found(data.train, _paired(request, say)))
        if data.val_share is not None:
            moved = replace(moved, val=_found(data.val, _paired(request, lambda _: None)))
    if request.val:
        moved = replace(moved, val=_found(data.val, _val_pairs(request, say)))
    _check_files([*moved.train, *moved.val])
    if moved.kept is None and _wants_contrast(recipe):
        looked = moved.folder(moved.train, reader).checked(_Look(recipe)).found
        moved = replace(
            moved, kept=np.concatenate([flags for _, flags in looked if flags is not None])
        )
    if (moved.train, moved.val) != (data.train, data.val) or moved.kept is not data.kept:
        moved.write(folder)
    return moved


def require_folders(request: DataRequest) -> None:
    """Refuse folders that there are not."""
    for path in request.folders:
        if not path.is_dir():
            raise InputError(f"there is no folder {path}: check the name.")
    if len(request.val) > 2:
        raise InputError(
            "validation pairs are in one folder that holds both kinds of images, or in two.",
            setting="val",
        )


class _Look:
    """What is noted of a pair when it is read for the first time."""

    def __init__(self, recipe: Recipe | None = None) -> None:
        self._recipe = recipe if recipe and _wants_contrast(recipe) else None

    def __call__(self, paths: PairedPaths, pair: ImagePair) -> tuple[PairRecord, Kept | None]:
        height, width = pair.first.shape[-2:]
        files = (FileRecord.of(paths.first), FileRecord.of(paths.second))
        recipe, flags = self._recipe, None
        if recipe:
            flags = grid_contrast(pair, recipe.crop, recipe.stride, recipe.min_contrast)
        return PairRecord(paths.name, *files, height, width), flags


def _wants_contrast(recipe: Recipe) -> bool:
    return recipe.sampling == "grid" and recipe.min_contrast > 0


def _paired(request: DataRequest, say: Say) -> list[PairedPaths]:
    pairs = []
    if request.first is not None:
        both = (request.first, *([request.second] if request.second else []))
        pairs += _pairs_of(both, request.recursive, say)
    for folder in request.extra:
        pairs += _pairs_of((folder,), request.recursive, say)
    return pairs


def _val_pairs(request: DataRequest, say: Say) -> list[PairedPaths]:
    return _pairs_of(request.val, request.recursive, say)


def _pairs_of(folders: Sequence[Path], recursive: bool, say: Say) -> list[PairedPaths]:
    pairing = pair_folders(*folders, recursive=recursive)
    for note in pairing.notes:
        say(note)
    for skipped in pairing.left_out:
        say(f"{skipped.reason}: {skipped.path}")
    return pairing.pairs


def _check_same(request: DataRequest, data: RunData) -> None:
    """Refuse settings that differ from those that the pairs were chosen by."""
    ours: dict[str, Any] = {
        "val_share": data.val_share,
        "val_group": data.val_group,
        "resize": data.resize,
    }
    asked: dict[str, Any] = {
        "val_share": request.val_share,
        "val_group": request.val_group,
        "resize": request.resize or None,
    }
    if request.ranges:
        ours["range"] = " ".join(data.rules.texts)
        asked["range"] = " ".join(request.ranges.texts)
    for name, value in asked.items():
        if value is not None and value != ours[name]:
            raise InputError(
                f"the run has {name} {ours[name]}, not {value}: leave it out, or start another "
                "run.",
                setting=name,
            )
    if request.val and data.val_share is not None:
        raise InputError(
            "the run validates on a share of its own pairs, not on other folders: leave them out, "
            "or start another run.",
            setting="val",
        )


def _found(records: Iterable[PairRecord], pairs: Iterable[PairedPaths]) -> list[PairRecord]:
    """The same pairs where they are now: by name, and of one name by content."""
    named: dict[str, list[PairedPaths]] = defaultdict(list)
    for paths in pairs:
        named[paths.name].append(paths)
    found, lost = [], []
    for record in records:
        candidates = named[record.name]
        if not candidates:
            lost.append(record.name)
            continue
        same = candidates if len(candidates) == 1 else [x for x in candidates if _same(record, x)]
        place = (same or candidates)[0]
        candidates.remove(place)
        found.append(record.at(place))
    if lost:
        raise InputError(
            f"{len(lost)} pairs of the run are not in the folders named ({lost[0]} for one): name "
            "those that the pairs are in now, or start another run."
        )
    return found


def _same(record: PairRecord, paths: PairedPaths) -> bool:
    files = ((record.first, paths.first), (record.second, paths.second))
    return all(file.same_in(path) for file, path in files)


def _check_files(records: Sequence[PairRecord]) -> None:
    """Refuse to go on with pictures that are missing or not what they were."""
    files = list(
        dict.fromkeys(file for record in records for file in (record.first, record.second))
    )
    missing = [file.path for file in files if not file.path.is_file()]
    if missing:
        raise InputError(
            f"the run cannot go on without its data: {len(missing)} of {len(files)} pictures are "
            f"missing ({missing[0]} for one); if they were moved, name the folders they are in."
        )
    with trouble("compare the pictures"), ThreadPoolExecutor(_THREADS, "hashes") as threads:
        same = threads.map(lambda file: file.same_in(file.path), files)
        changed = [file.path for file, unchanged in zip(files, same, strict=True) if not unchanged]
    if changed:
        raise InputError(
            f"the run cannot go on as it began: {len(changed)} of {len(files)} pictures have "
            f"changed since ({changed[0]} for one); put back what they were, or start another run."
        )
