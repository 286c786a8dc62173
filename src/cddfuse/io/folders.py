"""Find out which files of one or two folders show the same scene."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from cddfuse.errors import InputError
from cddfuse.io.listing import (
    Found,
    Skipped,
    enumerated,
    list_folder,
    list_images,
    require_images,
    skipped_folders,
)
from cddfuse.io.names import (
    Side,
    folded,
    in_order,
    loose,
    names_in_order,
    natural,
    shots,
    swap_advice,
    swapped,
    tag,
)

_LISTED = 6  # files that a message names at most


class PairedPaths(NamedTuple):
    """Two files that show one scene."""

    name: str
    """What both stems have in common: without words for modalities, if there are any.

    Files in subfolders have the names of those in front, as in `scene1/0001`. Unique in a pairing.
    """

    first: Path
    second: Path


class Pairing(NamedTuple):
    """What was found in one or two folders, in natural order: 2 before 10."""

    pairs: list[PairedPaths]
    unpaired: list[Path]
    """Images without a partner."""

    skipped: list[Skipped]
    """What looks like an image, or holds some, and was not considered."""

    notes: list[str]
    """Sentences for the user about the folders as a whole."""

    @property
    def left_out(self) -> list[Skipped]:
        """All that is not in a pair, with the reason."""
        return [*(Skipped(path, "no partner") for path in self.unpaired), *self.skipped]


_Names = tuple[str, ...]
"""Names of subfolders, and a stem."""


class _Image(NamedTuple):
    """An image with the names that count and the side they say."""

    found: Found
    names: _Names
    side: Side | None
    bare: _Names = ()
    """The names without words for modalities, once those are ignored."""


class _Match(NamedTuple):
    first: _Image
    second: _Image
    tagged: bool
    """Whether the names of both agree only without the words for modalities."""


def pair_folders(
    first: Path,
    second: Path | None = None,
    *,
    recursive: bool = False,
    leave_out: Sequence[Path] = (),
) -> Pairing:
    """Pair the images of two folders, or of one that holds both sides.

    Files are paired by name: equal stems first, then, among those left over, stems that differ in
    case, Unicode normalisation, words for modalities (`01_vi` and `01_ir`), padding of numbers
    (`1` and `0001`) and, for drone images with a number, the second.

    Args:
        first: the folder of the first images, or of both sides.
        second: the folder of the second images.
        recursive: pair images of subfolders too.
        leave_out: subfolders that are ignored, such as that of the results.
    """
    if second is None:
        return match_folder(first, recursive=recursive, leave_out=leave_out)
    return match_folders(first, second, recursive=recursive, leave_out=leave_out)


def match_folders(
    first: Path, second: Path, *, recursive: bool = False, leave_out: Sequence[Path] = ()
) -> Pairing:
    """Pair the images of two folders, see `pair_folders`."""
    images: list[_Image] = []
    skipped: list[Skipped] = []
    sides: tuple[tuple[Path, Side], ...] = ((first, "first"), (second, "second"))
    inside = (*leave_out, first, second)  # either may be a subfolder of the other
    for folder, side in sides:
        found, others = list_images(folder, recursive=recursive, leave_out=inside)
        require_images(folder, found, others)
        images += [_Image(image, image.names, side) for image in found]
        skipped += others
    matches, _ = _matched(images)
    if not matches:
        one, other = (
            next(image.found.path.name for image in images if image.side == side)
            for _, side in sides
        )
        raise InputError(
            f"no image of {first} ({one}, ...) has a partner in {second} ({other}, ...): "
            "give both files of a pair the same name."
        )
    notes = _swap_notes(first, second, matches)
    return _pairing(matches, [image.found.path for image in images], skipped, notes)


def match_folder(root: Path, *, recursive: bool = False, leave_out: Sequence[Path] = ()) -> Pairing:
    """Pair the images of one folder with two subfolders, or file names, that say the modality."""
    # Results may also go to the folder of one side.
    sides = None if recursive else _side_folders(root, leave_out) or _side_folders(root, ())
    if sides:
        return _beside(match_folders(*sides, leave_out=leave_out), root, sides, leave_out)
    found, skipped = list_images(root, recursive=recursive, leave_out=leave_out)
    by_folder, rest = _matched([_by_folder(image) for image in found])
    by_name, _ = _matched([_by_name(image.found) for image in rest])
    matches = [*by_folder, *by_name]
    if not matches:
        inside = any(setting for *_, setting in skipped)
        raise _no_sides(root, leave_out, "recursive" if inside else None)
    others = _neither_side(by_folder, by_name, rest)
    images = [image.path for image in found if not others & {*image.path.parents}]
    return _pairing(matches, images, skipped, [_neither(folder) for folder in sorted(others)])


def _side_folders(root: Path, leave_out: Sequence[Path]) -> tuple[Path, Path] | None:
    """The two subfolders that are the sides of one set of pairs, by their names."""
    folders = list_folder(root, leave_out).folders
    images = [Found(folder, (folder.name,)) for folder in folders]
    tags = [tag(folder.name, folder=True) for folder in folders]
    matches, _ = _matched(
        [_Image(image, (rest,), side) for image, (side, rest) in zip(images, tags, strict=True)]
    )
    if len(matches) > 1:
        raise _no_sides(root, leave_out, "recursive")
    return (matches[0].first.found.path, matches[0].second.found.path) if matches else None


def _beside(
    pairing: Pairing, root: Path, sides: tuple[Path, Path], leave_out: Sequence[Path]
) -> Pairing:
    """Add what else the folder of the two sides holds. Others, such as labels, are no pairs."""
    listing = list_folder(root, leave_out)
    others = skipped_folders([path for path in listing.folders if path not in sides], leave_out)
    stray = [Skipped(path, "not in the folders that were paired") for path in listing.images]
    return pairing._replace(
        skipped=[*pairing.skipped, *stray, *listing.skipped],
        notes=[*pairing.notes, *(_neither(folder) for folder, *_ in others)],
    )


def _neither_side(
    by_folder: Sequence[_Match], by_name: Sequence[_Match], rest: Sequence[_Image]
) -> set[Path]:
    """Folders beside those of the sides that hold images but no pair, such as labels."""
    paired = {image.found for match in by_folder for image in match[:2]}
    around = {
        path.parents[len(names) - depth - 1]
        for path, names in paired
        for depth, name in enumerate(names[:-1])
        if tag(name, folder=True).side
    }
    used = {path.parent for path, _ in paired} | {
        match.first.found.path.parent for match in by_name
    }
    lone = {image.found.path.parent for image in rest if image.side is None}
    above_used, above_lone = (
        {above for folder in folders for above in (folder, *folder.parents)}
        for folders in (used, lone)
    )
    return {folder for folder in above_lone - above_used if folder.parent in around}


def _neither(folder: Path) -> str:
    return f"{folder} holds images too, but is named like neither side."


def _no_sides(root: Path, leave_out: Sequence[Path], setting: str | None) -> InputError:
    listing = list_folder(root, leave_out)
    paths = [*listing.folders, *listing.images, *(path for path, *_ in listing.skipped)]
    names = sorted((path.name for path in paths), key=natural)[:_LISTED]
    return InputError(
        f"cannot tell the two sides in {root}, which holds {', '.join(names) or 'nothing'}: name "
        "one pair of subfolders, or the images, by modality (vi and ir, rgb and thermal, pet and "
        "mri, first and second), or give two folders.",
        setting=setting,
    )


def _by_folder(found: Found) -> _Image:
    """An image on the side that the innermost of its folders with such a name says."""
    *folders, stem = found.names
    tags = [tag(folder, folder=True) for folder in folders]
    side = next((side for side, _ in reversed(tags) if side), None)
    return _Image(found, (*(rest for _, rest in tags if rest), stem), side)


def _by_name(found: Found) -> _Image:
    """An image on the side that its own name says."""
    return _Image(found, found.names, tag(found.names[-1]).side)


def _matched(images: Iterable[_Image]) -> tuple[list[_Match], list[_Image]]:
    """Pair images by keys from strict to lenient, and return those left over too.

    Images without a side have no partner. An image that is one of several candidates is an error.
    """
    matches: list[_Match] = []
    rest = list(images)
    for keys in (_equal, _folded):
        pairs, rest = _level(rest, keys([image.names for image in rest]))
        matches += [_Match(*pair, tagged=False) for pair in pairs]
    rest = [image._replace(bare=_untagged(image.names)) for image in rest]
    for keys in (_folded, _alike, _same_shots):
        pairs, rest = _level(rest, keys([image.bare for image in rest]))
        matches += [_Match(*pair, tagged=True) for pair in pairs]
    return matches, rest


def _level(
    images: Sequence[_Image], keys: Sequence[Hashable]
) -> tuple[list[tuple[_Image, _Image]], list[_Image]]:
    """Pair images of equal keys; None is no key."""
    groups: dict[Hashable, list[_Image]] = defaultdict(list)
    for image, key in zip(images, keys, strict=True):
        if image.side and key is not None:
            groups[key].append(image)
    pairs = [pair for group in groups.values() if (pair := _sides_of(group))]
    paired = {id(image) for pair in pairs for image in pair}
    return pairs, [image for image in images if id(image) not in paired]


def _sides_of(group: Sequence[_Image]) -> tuple[_Image, _Image] | None:
    """First and second of a group, or None if all are of one side."""
    if len({image.side for image in group}) < 2:
        return None
    if len(group) > 2:
        raise InputError(
            f"{enumerated([image.found.path for image in group])} could all belong to one pair: "
            "rename them, remove all but two, or give two folders."
        )
    one, other = group
    return (one, other) if in_order(one.side, other.side) else (other, one)


def _untagged(names: _Names) -> _Names:
    *folders, stem = names
    rests = (tag(folder, folder=True).rest for folder in folders)
    return (*(rest for rest in rests if rest), tag(stem).rest)


def _equal(names: Sequence[_Names]) -> Sequence[Hashable]:
    return names


def _folded(names: Sequence[_Names]) -> Sequence[Hashable]:
    return [tuple(map(folded, name)) for name in names]


def _alike(names: Sequence[_Names]) -> Sequence[Hashable]:
    return [tuple(map(loose, name)) for name in names]


def _same_shots(names: Sequence[_Names]) -> Sequence[Hashable]:
    return shots(["/".join(map(loose, name)) for name in names])


def _pairing(
    matches: Sequence[_Match],
    images: Sequence[Path],
    skipped: list[Skipped],
    notes: list[str],
) -> Pairing:
    position = {path: index for index, path in enumerate(images)}
    ordered = sorted(matches, key=lambda match: position[match.first.found.path])
    pairs = [
        PairedPaths(name, match.first.found.path, match.second.found.path)
        for name, match in zip(_names(ordered), ordered, strict=True)
    ]
    paired = {path for pair in pairs for path in pair[1:]}
    return Pairing(pairs, [path for path in images if path not in paired], skipped, notes)


def _names(matches: Sequence[_Match]) -> list[str]:
    """Names of pairs: short ones where they are unique, whatever the case of letters."""
    names = [_short_name(match) for match in matches]
    whole = ["/".join(match.first.found.names) for match in matches]
    while True:
        counts = Counter(map(folded, names))
        unique = [
            name if counts[folded(name)] == 1 else full
            for name, full in zip(names, whole, strict=True)
        ]
        if unique == names:
            return names
        names = unique


def _short_name(match: _Match) -> str:
    *folders, stem = match.first.names
    *others, other = match.second.names
    if match.tagged:  # names that both have in common stay as they are
        folders = [f if f in others else tag(f, folder=True).rest for f in folders]
        stem = stem if stem == other else match.first.bare[-1] or stem
    return "/".join([*filter(None, folders), stem])


def _swap_notes(first: Path, second: Path, matches: Sequence[_Match]) -> list[str]:
    if advice := swapped(first, second):
        return [advice]
    wrong = [
        match
        for match in matches
        if match.tagged and names_in_order(match.first.names, match.second.names) is False
    ]
    if not wrong:
        return []
    example = wrong[0]
    return [swap_advice(example.first.found.path, example.second.found.path, len(wrong) - 1)]
