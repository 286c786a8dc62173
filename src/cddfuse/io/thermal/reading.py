"""How thermal images are read, and the pairs that single radiometric files are."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cddfuse.io.decode import holds_photo
from cddfuse.io.folders import PairedPaths, Pairing
from cddfuse.io.listing import Skipped, list_images

_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".fff")


@dataclass(frozen=True)
class ThermalReading:
    """What is done with thermal images beside finding their range."""

    celsius: bool = False
    """Hand on the temperatures, for a file beside each result."""


def pair_in(path: Path) -> PairedPaths | None:
    """The pair in a radiometric file that holds a visible photo too; None if it does not."""
    return PairedPaths(path.stem, path, path) if holds_photo(path) else None


def pairs_in(
    folder: Path, *, recursive: bool = False, leave_out: Sequence[Path] = ()
) -> Pairing | None:
    """The pairs in the radiometric files of a folder; None if there are none."""
    found, skipped = list_images(folder, recursive=recursive, leave_out=leave_out)
    likely = [image for image in found if image.path.suffix.lower() in _SUFFIXES]
    own = {image.path for image in likely if holds_photo(image.path)}
    if not own:
        return None
    names = {image.path: "/".join(image.names) for image in found}
    counts = Counter(names[path] for path in own)
    pairs = [
        PairedPaths(name if counts[name] == 1 else f"{name}{path.suffix}", path, path)
        for path, name in names.items()
        if path in own
    ]
    others = [
        Skipped(path, "no partner, and no visible photo in it") for path in names if path not in own
    ]
    return Pairing(pairs, [], [*others, *skipped], [])
