"""Image files as a source of pairs and as a sink: two files, or the pairs of folders."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import ClassVar, Literal

from torch import Tensor

from cddfuse.errors import InputError, exists_already
from cddfuse.io.encode import output_format
from cddfuse.io.files import replacing
from cddfuse.io.folders import PairedPaths
from cddfuse.io.images import load_pair, write_image
from cddfuse.io.listing import Skipped
from cddfuse.io.metadata import Metadata
from cddfuse.io.names import loose, tag
from cddfuse.io.ranges import Ranges
from cddfuse.io.shards import Shard
from cddfuse.io.source import Entry, Kind, Loaded, PlainSink
from cddfuse.io.transforms import located
from cddfuse.registration import Transform

_DEEP = (".png", ".tif", ".tiff")


@dataclass(frozen=True)
class ImagePairs:
    """Pairs of image files."""

    kind: ClassVar[Kind] = "images"
    pairs: Sequence[PairedPaths]
    """Those of all shards; their names are unique."""

    skipped: Sequence[Skipped] = ()
    """Files that look like images and belong to no pair."""

    notes: Sequence[str] = ()
    resize: bool = False
    """Bring the second image to the size of the first."""

    ranges: Ranges | None = None
    """The value range of each side, the same for all pairs; None is that of `read_image`."""

    transform: Transform | None = None
    """Where the first images lie in the second ones, the same for all pairs."""

    celsius: bool = False
    """Whether temperatures are written beside the results."""

    folder: bool = False
    """Whether they are the pairs of folders, and results go to a folder."""

    shard: Shard | None = None
    """The share of the pairs that is read; None reads all."""

    @cached_property
    def own(self) -> Sequence[PairedPaths]:
        """The pairs of the shard."""
        shard = self.shard
        return [pair for pair in self.pairs if shard.holds(pair.name)] if shard else self.pairs

    @property
    def length(self) -> int:
        """Number of pairs of the shard."""
        return len(self.own)

    def __iter__(self) -> Iterator[Entry[Loaded]]:
        """The pairs of the shard, in order."""
        for pair in self.own:
            both = f"{pair.first} and {pair.second}"
            origin = str(pair.first) if pair.first == pair.second else both
            yield Entry(pair.name, origin, partial(self._read, pair))

    def _read(self, pair: PairedPaths) -> Loaded:
        images, metadata = load_pair(
            pair.first,
            pair.second,
            name=pair.name,
            resize=self.resize,
            ranges=self.ranges,
            celsius=self.celsius,
            any_size=self.transform is not None,
        )
        return located(Loaded(images, metadata), self.transform)


@dataclass(frozen=True)
class ImageFiles(PlainSink):
    """Fused images as files, one for each pair."""

    path: Callable[[str], Path]
    """The file of a result, by the name of its pair."""

    bits: Literal[8, 16] | None = None
    """Per channel; None takes 16 where a source has more than 8 and the format holds them."""

    overwrite: bool = False
    """Replace files that exist."""

    strip: bool = False
    """Leave out the metadata of the first image."""

    celsius: bool = False
    """Write the temperatures in the metadata to a file beside each image, see `beside`."""

    def prepare(self, pairs: Sequence[PairedPaths], *, folder: bool = False) -> None:
        """Refuse what would replace a source, or go wrong with every pair.

        Args:
            pairs: what is fused.
            folder: whether they are those of folders, which the next run lists again.
        """
        real = _RealPaths()
        sources = {real.of(source) for pair in pairs for source in (pair.first, pair.second)}
        paths = [self.path(pair.name) for pair in pairs]
        for path in paths:
            results = (path, beside(path)) if self.celsius else (path,)
            if not sources.isdisjoint(map(real.of, results)):
                raise InputError(
                    f"{path} is a source: choose another folder for the results, or a suffix.",
                    setting="output",
                )
            output_format(path, self.bits or 8)
        if folder:
            _require_told_apart(paths, pairs, real)
        for place in {path.parent for path in paths}:
            require_writable(place)

    def others(self, skipped: Sequence[Skipped], pairs: Sequence[PairedPaths]) -> Sequence[Skipped]:
        """What was left out of the pairs, without the results of an earlier run among the sources.

        What has the name of a result is one, whatever its format.
        """
        real = _RealPaths()
        paths = [self.path(pair.name) for pair in pairs] if skipped else []
        files = {real.of(each) for path in paths for each in (path, beside(path))}
        results = {os.path.splitext(file)[0] for file in files}
        return [x for x in skipped if os.path.splitext(real.of(x.path))[0] not in results]

    def has(self, name: str) -> bool:
        """Whether the file exists and is to be kept."""
        path = self.path(name)
        paths = [path, beside(path)] if self.celsius else [path]
        return not self.overwrite and all(map(os.path.isfile, paths))

    def write(self, name: str, image: Tensor, metadata: Metadata) -> bool:
        """Write a fused image (C, H, W) in [0, 1]; False if another program has done so."""
        path = self.path(name)
        if self.celsius and not self.overwrite:
            if os.path.isfile(path) and not self.has(name):  # it lacks its temperatures only
                return self._write_celsius(path, metadata)
            if os.path.isfile(beside(path)) and not self.has(name):
                raise exists_already(beside(path))
        deep = metadata.bits == 16 and path.suffix.lower() in _DEEP
        bits = self.bits or (16 if deep else 8)
        kept = None if self.strip else metadata
        try:
            write_image(path, image, bits=bits, overwrite=self.overwrite, metadata=kept)
        except InputError:
            if self.has(name):
                return False
            raise
        return self._write_celsius(path, metadata)

    def _write_celsius(self, path: Path, metadata: Metadata) -> bool:
        if self.celsius and metadata.celsius is not None:
            import tifffile

            with replacing(beside(path)) as temporary:
                tifffile.imwrite(temporary, metadata.celsius, metadata=None, software=False)
        return True


class _RealPaths:
    """Real paths of a million files, with one look at each folder."""

    def __init__(self) -> None:
        self._folders: dict[str, tuple[str, set[str]]] = {}

    def of(self, path: Path) -> str:
        """The path without links."""
        folder, name = os.path.split(path)
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder), _links(folder)
        real, links = self._folders[folder]
        return os.path.realpath(path) if name in links else os.path.join(real, name)


def _links(folder: str) -> set[str]:
    with suppress(OSError), os.scandir(folder or ".") as entries:
        return {entry.name for entry in entries if entry.is_symlink()}
    return set()


def _require_told_apart(
    paths: Sequence[Path], pairs: Sequence[PairedPaths], real: _RealPaths
) -> None:
    """Refuse results among the sources that the next run would take for some, in any format."""
    results = [os.path.split(os.path.splitext(real.of(path))[0]) for path in paths]
    folders = {folder for folder, _ in results}
    taken: dict[tuple[str, str], Path] = {}
    for _, first, second in pairs:
        for source in (first, second) if first != second else ():  # else its content tells
            folder, stem = os.path.split(os.path.splitext(real.of(source))[0])
            if folder in folders:
                taken[folder, loose(stem)] = source
                if first.parent != second.parent:  # all files of a folder are of its side there
                    taken[folder, loose(tag(stem).rest)] = source
    for path, (folder, stem) in zip(paths, results, strict=True):
        if other := taken.get((folder, loose(stem))):
            raise InputError(
                f"{path} would be taken for {other.name} by the next run: choose another folder "
                "for the results, or a suffix.",
                setting="output",
            )


def beside(path: Path) -> Path:
    """The file of the temperatures of a result."""
    return path.with_name(f"{path.stem}_celsius.tif")


def require_writable(folder: Path) -> None:
    """Refuse a folder that no file can be written to."""
    place = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not os.path.isdir(place) or not os.access(place, os.W_OK):
        why = "is not writable" if os.path.isdir(place) else "is not a folder"
        raise InputError(
            f"cannot write to {folder}, for {place} {why}: choose another folder.",
            setting="output",
        )
