"""Fingerprints of pairs: recognise an image that was renamed, compressed again or resized.

A fingerprint is the sign of the horizontal gradient of a 16 x 17 thumbnail: 256 bits an image. Test
pairs of RoadScene differ from all training pairs in 181 bits or more, neighbouring slices of AANLIB
in 38; a copy at half size and JPEG quality 60 in up to 21 an image.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cddfuse.datasets.catalog import CATALOG, Card, Fingerprint, split_of
from cddfuse.io import replacing
from cddfuse.pair import ImagePair

FARTHEST = 30
"""Bits that a copy of a pair may differ by, of both images together."""

_SIDE = 16
BITS = _SIDE * _SIDE
"""Of the fingerprint of an image."""


def fingerprint(pair: ImagePair) -> Fingerprint:
    """The fingerprints of the grey images (1, H, W) of a pair, in [0, 1]."""
    first, second = (_bits(image[0].cpu().numpy()) for image in pair[:2])
    return Fingerprint(first, second)


def _bits(image: NDArray[np.float32]) -> int:
    small = cv2.resize(image, (_SIDE + 1, _SIDE), interpolation=cv2.INTER_AREA)
    levels = np.rint(small * 255).astype(int)
    return int("".join("01"[up] for up in (levels[:, 1:] > levels[:, :-1]).ravel().tolist()), 2)


def find_copies(
    pairs: Mapping[str, Fingerprint], known: Iterable[tuple[str, Fingerprint]]
) -> dict[str, str]:
    """Names of pairs that are copies of known ones, with the names of those."""
    listed = list(known)
    return {
        name: other
        for name, mine in pairs.items()
        for other in [next((o for o, theirs in listed if _near(mine, theirs)), None)]
        if other is not None
    }


def found_in_splits(
    splits: Iterable[str],
    card: Card | None,
    names: Collection[str],
    prints: Mapping[str, Fingerprint],
) -> dict[str, str]:
    """Pairs that are in splits of the catalog, by name or as copies, with their place there.

    Args:
        splits: such as roadscene/train.
        card: of the data set that the pairs are of; None if it has none.
        names: of the pairs.
        prints: their fingerprints.
    """
    found: dict[str, str] = {}
    for path in splits:
        known = split_of(path).fingerprints()
        if card is CATALOG[path.partition("/")[0]]:
            found |= {name: f"{path}/{name}" for name in names if name in known}
        marked = [(name, mark) for name, mark in known.items() if mark is not None]
        copies = find_copies(prints, marked)
        found = {**{name: f"{path}/{other}" for name, other in copies.items()}, **found}
    return found


def kept(path: Path, read: Callable[[], Mapping[str, Fingerprint]]) -> Mapping[str, Fingerprint]:
    """Fingerprints from a file; where there is none, or it is damaged, they are read and kept."""
    with suppress(OSError, ValueError, TypeError, AttributeError):
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {name: Fingerprint(*marks) for name, marks in stored.items()}
    found = read()
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(found), encoding="utf-8")
    return found


def _near(one: Fingerprint, other: Fingerprint) -> bool:
    differing = (bin(a ^ b).count("1") for a, b in zip(one, other, strict=True))
    return sum(differing) <= FARTHEST
