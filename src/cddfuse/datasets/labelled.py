"""A data set with labels on disk: its pairs, boxes or class maps, scenes and split."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cddfuse.datasets.catalog import CATALOG, LAYOUTS, Card, Fingerprint, Labelling, find_card
from cddfuse.datasets.labels import (
    Box,
    Classes,
    Size,
    coco_names,
    read_class_map,
    read_coco,
    read_text,
    read_voc,
    read_yolo,
)
from cddfuse.datasets.partition import (
    PARTS,
    SHARES,
    Partition,
    blocks,
    by_scene,
    checked,
    copies,
    joined,
    read_partition,
    read_scenes,
    without_copies,
)
from cddfuse.errors import InputError
from cddfuse.io import PairedPaths, image_size, pair_folders

Kind = Literal["boxes", "maps"]

_FOLDERS: Mapping[Kind, tuple[str, ...]] = {
    "boxes": ("boxes", "labels", "Annotations", "Annotation"),
    "maps": ("maps", "masks", "labels", "Segmentation_labels", "Label", "label"),
}
_SUFFIXES: Mapping[Kind, tuple[str, ...]] = {"boxes": (".txt", ".xml"), "maps": (".png",)}
NAMES: Mapping[Kind, str] = {"boxes": "box_classes.txt", "maps": "map_classes.txt"}
"""Files that list the classes of a data set, one a line in the order of their numbers."""


@dataclass(frozen=True)
class LabelRequest:
    """What a user says about a data set and its labels."""

    path: Path
    """The folder of the data set: both sides, labels, perhaps within train and test."""

    name: str | None = None
    """Which one of the catalog it is; None is the one whose name is in the path, if any."""

    labels: Path | None = None
    """Folder of the labels, or a COCO file; None looks for it."""

    classes: tuple[str, ...] = ()
    """Names of the classes by number; empty takes those of the data set."""

    map: Mapping[str, str] = field(default_factory=dict)
    """Classes to rename, merge or (with the name "") leave out."""

    first_class: int = 0
    """Number of the first class."""

    voc_origin: Literal[0, 1] = 1
    """Number of the first pixel in files of Pascal VOC."""

    unlabelled: Literal["refuse", "skip", "background"] = "refuse"
    """Images without a file of labels: an error, left out, or without objects."""

    split: Path | None = None
    """File or folder of lists; None takes the folders of the data set, or splits by scene."""

    shares: tuple[int, ...] = SHARES
    """Of train, val and test, where the data set has no split."""

    scene: str | Path | None = None
    """Pattern whose first group in a name says the scene, or a file with a name and its scene on
    each line; None is the pattern of the catalog."""

    duplicates: Literal["refuse", "drop"] = "refuse"
    """Copies of one image on two sides of a given split: an error, or dropped from training."""


@dataclass(frozen=True)
class LabelledSet:
    """Pairs with labels."""

    title: str
    card: Card | None
    kind: Kind
    classes: Classes
    pairs: Mapping[str, PairedPaths]
    """By name, all that are in the split."""

    sizes: Mapping[str, Size]
    boxes: Mapping[str, Sequence[Box]]
    """By name; empty for class maps."""

    maps: Mapping[str, Path]
    """Files of class maps by name; empty for boxes."""

    scenes: Mapping[str, str]
    partition: Partition
    notes: Sequence[str] = ()
    prints: Mapping[str, Fingerprint] = field(default_factory=dict)
    """Of the pairs, by name."""


def open_labelled(
    request: LabelRequest,
    kind: Kind,
    prints: Callable[[Sequence[PairedPaths]], Mapping[str, Fingerprint]],
) -> LabelledSet:
    """Find the pairs and read the labels of a data set, all of them, and split it.

    Args:
        request: what is known about it.
        kind: which labels.
        prints: gives the fingerprints of pairs, by which copies are found.
    """
    if not request.path.is_dir():
        raise InputError(f"there is no folder {request.path}: give that of a data set.")
    card = _card(request)
    parts = _parts(request.path, card)
    pairs = {pair.name: pair for of in parts.values() for pair in of}
    part_of = {pair.name: part for part, of in parts.items() for pair in of}
    if len(pairs) != sum(map(len, parts.values())):
        raise InputError(
            f"{request.path} has pairs of one name in two parts: rename those, or give a folder "
            "with one part and a split."
        )
    files = _files(request, kind, card, part_of, pairs)
    sizes = {name: image_size(pair.first) for name, pair in pairs.items()}
    classes = _classes(request, kind, card, files)
    boxes, maps, notes = _read(request, kind, classes, files, sizes)
    names = list(boxes or maps)
    if not names:
        raise InputError(f"no image of {request.path} has labels: check the folder.", "labels")
    scenes = _scenes(request, card, names)
    marks = prints([pairs[name] for name in names])
    same = copies(marks)
    partition = _partition(request, {name: part_of[name] for name in names}, scenes, same)
    if _scene_rule(request, card):
        notes += _crossing(partition, joined(scenes, same))
    used = [name for part in PARTS for name in getattr(partition, part)]
    found = LabelledSet(
        card.title if card else request.path.resolve().name,
        card,
        kind,
        classes,
        {name: pairs[name] for name in used},
        {name: sizes[name] for name in used},
        {name: boxes[name] for name in used if name in boxes},
        {name: maps[name] for name in used if name in maps},
        joined(scenes, same),
        partition,
        notes,
        marks,
    )
    _require_classes(found)
    return found


def _card(request: LabelRequest) -> Card | None:
    if request.name:
        card = find_card(request.name)
        if card is None:
            text = f"there is no data set {request.name}: known are {', '.join(CATALOG)}."
            raise InputError(text, "name")
        return card
    parts = reversed(request.path.resolve().parts)
    return next((card for part in parts if (card := find_card(part))), None)


def _parts(path: Path, card: Card | None) -> dict[str, list[PairedPaths]]:
    """Pairs by part, which is "" where the folder is not divided."""
    layouts = dict.fromkeys([*(card.layouts if card else ()), *LAYOUTS])
    below = ("", *((split.folder for split in card.splits.values()) if card else ()))
    for folder in dict.fromkeys([path / part for part in below if part not in PARTS]):
        for one, other in layouts:
            found = {
                part: pair_folders(first, second).pairs
                for part in PARTS
                for first, second in (
                    (folder / part / one, folder / part / other),
                    (folder / one / part, folder / other / part),
                )
                if first.is_dir() and second.is_dir()
            }
            if found:
                return found if len(found) > 1 else {"": next(iter(found.values()))}
            if (folder / one).is_dir() and (folder / other).is_dir():
                return {"": pair_folders(folder / one, folder / other).pairs}
    return {"": pair_folders(path).pairs}


def _files(
    request: LabelRequest,
    kind: Kind,
    card: Card | None,
    part_of: Mapping[str, str],
    pairs: Mapping[str, PairedPaths],
) -> Path | dict[str, Path]:
    """A COCO file, or the files of labels by name of the pair, where there are any."""
    if request.labels and request.labels.is_file():
        if request.labels.suffix.lower() != ".json" or kind == "maps":
            what = "a folder" if kind == "maps" else "a folder or a COCO file (.json)"
            raise InputError(f"{request.labels} is no place of labels: give {what}.", "labels")
        return request.labels
    if request.labels and not request.labels.is_dir():
        raise InputError(f"there is no {request.labels}: give a folder of labels.", "labels")
    facts = card.labels if card else Labelling()
    own = facts.box_folders if kind == "boxes" else facts.map_folders
    names = dict.fromkeys([*own, *_FOLDERS[kind]])
    index: dict[Path, dict[str, Path]] = {}
    found = {}
    for name, pair in pairs.items():
        part = part_of[name]
        roots = dict.fromkeys(
            [pair.first.parents[1], pair.first.parents[2], request.path / part, request.path]
        )
        folders = [root / label for root in roots for label in names]
        folders = [place / sub for place in folders for sub in dict.fromkeys((part, ""))]
        folders = [request.labels / part, request.labels] if request.labels else folders
        for folder in folders:
            if folder not in index:
                index[folder] = _listed(folder, _SUFFIXES[kind])
            stems = (pair.first.stem, pair.second.stem, name)
            file = next((index[folder][s] for s in stems if s in index[folder]), None)
            if file:
                found[name] = file
                break
    return found


def _listed(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in suffixes and found.setdefault(path.stem, path) is not path:
            names = f"{found[path.stem].name} and {path.name}"
            raise InputError(f"{folder} has {names}: keep the labels of one format.", "labels")
    return found


def _classes(
    request: LabelRequest, kind: Kind, card: Card | None, files: Path | dict[str, Path]
) -> Classes:
    facts = card.labels if card else Labelling()
    known = facts.boxes if kind == "boxes" else facts.maps
    places = dict.fromkeys([request.path, request.path.parent])
    listed = next(
        (place / NAMES[kind] for place in places if (place / NAMES[kind]).is_file()), None
    )
    if listed:
        known = tuple(filter(None, map(str.strip, read_text(listed).splitlines())))
    if isinstance(files, Path):
        known = coco_names(files)
    names = request.classes or known
    if not names:
        raise InputError(
            f"the names of the classes of {request.path} are not known: give them in the order of "
            f"their numbers, or a file {NAMES[kind]} with one a line.",
            setting="classes",
        )
    ignored = facts.ignored if kind == "maps" and not request.classes else ()
    return Classes(tuple(names), dict(request.map), request.first_class, ignored)


def _read(
    request: LabelRequest,
    kind: Kind,
    classes: Classes,
    files: Path | dict[str, Path],
    sizes: Mapping[str, Size],
) -> tuple[dict[str, list[Box]], dict[str, Path], list[str]]:
    boxes: dict[str, list[Box]] = {}
    maps: dict[str, Path] = {}
    coco: dict[str, list[Box]] | None = None
    if isinstance(files, Path):
        stems = {Path(name).name: name for name in sizes}
        coco = read_coco(files, classes, lambda stem: sizes.get(stems.get(stem, "")))
        boxes = {stems[stem]: found for stem, found in coco.items()}
    else:
        for name, file in files.items():
            if kind == "maps":
                read_class_map(file, sizes[name], classes)
                maps[name] = file
            elif file.suffix.lower() == ".xml":
                boxes[name] = read_voc(file, sizes[name], classes, origin=request.voc_origin)
            else:
                boxes[name] = read_yolo(file, sizes[name], classes)
    missing = [name for name in sizes if name not in boxes and name not in maps]
    if not missing:
        return boxes, maps, []
    count = f"{len(missing)} of {len(sizes)} images have no labels"
    if request.unlabelled == "refuse":
        raise InputError(
            f"{count} in {request.path} ({missing[0]}, ...): skip them, or take them as without "
            "objects.",
            setting="unlabelled",
        )
    if request.unlabelled == "background":
        if kind == "maps":
            raise InputError(f"{count}: only images with class maps can be used.", "unlabelled")
        return boxes | {name: [] for name in missing}, maps, [f"{count}: taken as background."]
    return boxes, maps, [f"{count}: left out."]


def _scene_rule(request: LabelRequest, card: Card | None) -> str | Path:
    """What says the scene of a name; empty if nothing does."""
    if request.scene is not None:
        return request.scene
    return card.scene if card else ""


def _crossing(made: Partition, scenes: Mapping[str, str]) -> list[str]:
    """A sentence about scenes on two sides, which only a given split has."""
    trained = {scenes[name] for name in made.train}
    seen = [name for name in made.test if scenes[name] in trained]
    if not seen:
        return []
    return [
        f"{len(seen)} of {len(made.test)} test images ({seen[0]}, ...) are of scenes that are "
        "trained on too, so all rows may be too good."
    ]


def _scenes(request: LabelRequest, card: Card | None, names: Sequence[str]) -> dict[str, str]:
    pattern = _scene_rule(request, card)
    if isinstance(pattern, Path):
        return read_scenes(pattern, names)
    if not pattern:
        return blocks(names)
    try:
        compiled = re.compile(pattern)
        if compiled.groups < 1:
            raise re.error("no group")
    except re.error as error:
        text = f"{pattern} is no pattern ({error}) and no file: give one, such as (\\d+)_."
        raise InputError(text, "scene") from error
    matched = {name: compiled.match(name.rpartition("/")[2]) for name in names}
    if request.scene is not None and not any(matched.values()):
        raise InputError(f"{pattern} fits no name, such as {names[0]}.", "scene")
    return {name: (found and found[1]) or name for name, found in matched.items()}


def _partition(
    request: LabelRequest,
    part_of: Mapping[str, str],
    scenes: Mapping[str, str],
    same: Sequence[tuple[str, str]],
) -> Partition:
    given: Partition | None = None
    if request.split:
        given = read_partition(request.split, list(part_of))
    elif "" not in part_of.values():
        lists = {p: tuple(n for n, part in part_of.items() if part == p) for p in PARTS}
        given = checked(Partition("folders of the data set", **lists), request.path)
    if given is None:
        return by_scene(joined(scenes, same), request.shares)
    return without_copies(given, same, request.duplicates)[0]


def _require_classes(found: LabelledSet) -> None:
    """Refuse classes that some part of the split has nothing of: a mean over others is no mean."""
    for part in ("train", "test"):
        names = getattr(found.partition, part)
        if found.kind == "boxes":
            here = {b.label for name in names for b in found.boxes[name] if not b.ignored}
        else:
            here = set()
            for name in names:
                values = read_class_map(found.maps[name], found.sizes[name], found.classes)
                here.update(set(values.ravel().tolist()))
        absent = [c for index, c in enumerate(found.classes.kept) if index not in here]
        if absent:
            raise InputError(
                f"the class {absent[0]} does not occur in the {part} part of {found.title}"
                f"{f' (nor do {len(absent) - 1} others)' if len(absent) > 1 else ''}: map it to "
                "nothing or to another class, or split otherwise.",
                setting=("map", "split", "shares"),
            )
