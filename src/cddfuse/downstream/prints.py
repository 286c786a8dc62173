"""Fingerprints of the pairs of a data set, kept, by which copies in two parts of a split show."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from cddfuse import colour
from cddfuse.datasets.catalog import Fingerprint
from cddfuse.datasets.fingerprints import fingerprint, kept
from cddfuse.downstream.suite import Progress
from cddfuse.evaluate.provenance import hash_pairs
from cddfuse.io import PairedPaths, Ranges, load_pair, resolve
from cddfuse.pair import ImagePair


def kept_prints(
    out: Path, ranges: Ranges, after: Callable[[Progress], None] = lambda progress: None
) -> Callable[[Sequence[PairedPaths]], Mapping[str, Fingerprint]]:
    """What `open_labelled` asks for fingerprints.

    Args:
        out: folder that they are kept in.
        ranges: how values become [0, 1].
        after: called as pairs are read.
    """

    def prints(pairs: Sequence[PairedPaths]) -> Mapping[str, Fingerprint]:
        path = out / "fingerprints" / f"{hash_pairs(pairs)[:24]}.json"
        return kept(path, partial(_read, pairs, ranges, after))

    return prints


def _read(
    pairs: Sequence[PairedPaths], ranges: Ranges, after: Callable[[Progress], None]
) -> dict[str, Fingerprint]:
    fixed = resolve(ranges, pairs).ranges
    found = {}
    for place, paths in enumerate(pairs, start=1):
        images, _ = load_pair(paths.first, paths.second, name=paths.name, ranges=fixed)
        grey = ImagePair(colour.luma(images.first), colour.luma(images.second), paths.name)
        found[paths.name] = fingerprint(grey)
        after(Progress(place, len(pairs), "read", "images"))
    return found
