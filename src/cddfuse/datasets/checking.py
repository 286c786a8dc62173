"""Check a folder against the card of a data set: pairs, counts, sizes, and which pairs they are."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cddfuse.datasets.catalog import CATALOG, Card, locate
from cddfuse.errors import InputError, some_of
from cddfuse.io import pair_folders, read_image


@dataclass
class Found:
    """What a folder holds of a data set."""

    card: Card
    first: Path
    second: Path
    names: list[str]
    sizes: Counter[str]
    """Number of pairs by width x height of the first image."""

    problems: list[str] = field(default_factory=list)
    """What is wrong with single files: sentences."""

    splits: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By split: how many of its pairs are here by name, and how many pairs it has."""


def recognise(path: Path) -> Card:
    """The card whose name is in the path, as in `data/tno/test`."""
    parts = [part.lower().replace("-", "_") for part in reversed(path.resolve().parts)]
    for part in parts:
        if part in CATALOG:
            return CATALOG[part]
    raise InputError(
        f"{path} names no known data set: say which of {', '.join(CATALOG)} it is.", setting="name"
    )


def check(
    path: Path,
    card: Card,
    split: str | None = None,
    *,
    after: Callable[[int, int], None] = lambda done, total: None,
) -> Found:
    """Find the pairs of a data set, read them, and compare them with its card.

    Args:
        path: the folder.
        card: of the data set.
        split: the one to look for; by default the first that is there.
        after: called after each pair with how many have been read, and how many there are.
    """
    if split is not None and split not in card.splits:
        raise InputError(
            f"{card.title} has no split {split}: known are {', '.join(card.splits)}.",
            setting="split",
        )
    try:
        first, second = locate(card, path, split)
    except InputError as error:  # the path is an argument here, not a setting
        raise InputError(str(error)) from error
    pairing = pair_folders(first, second)
    found = Found(card, first, second, [pair.name for pair in pairing.pairs], Counter())
    found.problems += [f"{left.path}: {left.reason}" for left in pairing.left_out]
    for number, pair in enumerate(pairing.pairs, 1):
        after(number, len(pairing.pairs))
        try:
            (height, width), other = (read_image(file).shape[-2:] for file in pair[1:3])
        except Exception as error:  # decoders raise exceptions of many kinds
            found.problems.append(f"{pair.name} cannot be read ({error}).")
            continue
        found.sizes[f"{width}x{height}"] += 1
        if (height, width) != other:
            text = f"{pair.name}: the images are {width}x{height} and {other[1]}x{other[0]}."
            found.problems.append(text)
    here = set(found.names)
    for name, part in card.splits.items():
        listed = part.fingerprints()
        if listed:
            found.splits[name] = sum(pair in here for pair in listed), part.pairs
        elif part.pairs == len(here):
            found.splits[name] = part.pairs, part.pairs
    found.problems += _lacking(found, here, split)
    return found


def _lacking(found: Found, here: set[str], wanted: str | None) -> Iterator[str]:
    """What the split that was asked for lacks, or any that is there in part if none is whole."""
    whole = any(count == of for count, of in found.splits.values())
    for name, (count, of) in found.splits.items():
        if count < of and (name == wanted or (count and not whole and not wanted)):
            missing = [pair for pair in found.card.splits[name].fingerprints() if pair not in here]
            yield f"split {name} lacks {len(missing)} of its pairs: {some_of(missing)}."
