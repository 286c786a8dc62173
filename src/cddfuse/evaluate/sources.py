"""What is scored: pairs of a source as grey images, with the results of another tool if given."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

from torch import Tensor

from cddfuse.errors import InputError, trouble
from cddfuse.evaluate.protocol import published_grey
from cddfuse.io import PairedPaths, Ranges, Skipped, read_image, read_pair
from cddfuse.io.image_files import ImagePairs
from cddfuse.io.metadata import Metadata
from cddfuse.io.source import Entry, Kind, Loaded, Source
from cddfuse.pair import ImagePair

Pairs = Source[Loaded] | Sequence[PairedPaths] | Sequence[ImagePair]
"""Pairs to score: a source, files, or images in memory."""

Fit = Literal["resize", "crop"]
"""What is done about a result of another size: resize it, or crop the sources to it."""


class Images(NamedTuple):
    """Grey images of one size to compute the metrics of."""

    pair: ImagePair
    """Each (1, H, W), as `published_grey`."""

    fused: Tensor | None = None
    """Like them; None until a network has fused the pair."""

    fit: Fit | None = None
    """What was done because its size was not that of the sources."""


@dataclass(frozen=True)
class PairsInMemory:
    """Images as a source."""

    kind: ClassVar[Kind] = "images"
    pairs: Sequence[ImagePair]
    """Their names are unique."""

    resize: bool = False
    """Bring the second image to the size of the first."""

    skipped: Sequence[Skipped] = ()
    notes: Sequence[str] = ()
    ranges: Ranges | None = None

    @property
    def length(self) -> int:
        """Number of pairs."""
        return len(self.pairs)

    def __iter__(self) -> Iterator[Entry[Loaded]]:
        """The pairs in order."""
        for pair in self.pairs:
            yield Entry(pair.name, pair.name, partial(self._read, pair))

    def _read(self, pair: ImagePair) -> Loaded:
        first, second = read_image(pair.first), read_image(pair.second)
        if first.shape[-2:] != second.shape[-2:] and not self.resize:
            raise InputError(
                f"the first image of {pair.name} is {_size(first)} and the second "
                f"{_size(second)}: use images of one size, or resize the second.",
                setting="resize",
            )
        # Of 16 bits, so that levels are truncated as those of files.
        return Loaded(read_pair(first, second, name=pair.name, resize=True), Metadata(bits=16))


def as_source(pairs: Pairs, *, resize: bool = False) -> Source[Loaded]:
    """A source of pairs. Images without a name are called by their number.

    Args:
        pairs: a source, which is returned as it is, or a list.
        resize: bring the second image to the size of the first, in a list.
    """
    if not isinstance(pairs, Sequence):
        return pairs
    files = [pair for pair in pairs if isinstance(pair, PairedPaths)]
    images = [
        pair._replace(name=pair.name or str(number))
        for number, pair in enumerate(pairs, 1)
        if isinstance(pair, ImagePair)
    ]
    if len(pairs) not in (len(files), len(images)):
        raise InputError("pairs are a list of PairedPaths or one of ImagePair, or a source.")
    counts = Counter([*(pair.name for pair in files), *(pair.name for pair in images)])
    for name, count in counts.most_common(1):
        if count > 1:
            raise InputError(f"{count} pairs are called {name}: give each a name of its own.")
    return PairsInMemory(images, resize) if images else ImagePairs(files, resize=resize)


def listed(source: Source[Loaded]) -> Sequence[PairedPaths]:
    """All pairs of a source, by whose names, and names of files, results are found."""
    if isinstance(source, ImagePairs):
        return source.pairs
    files = ((entry.name, Path(f"{entry.name}.png")) for entry in source)
    return [PairedPaths(name, path, path) for name, path in files]


@dataclass(frozen=True)
class GreyImages:
    """The pairs of a source as published tables see them, with results to score beside them."""

    kind: ClassVar[Kind] = "images"
    source: Source[Loaded]
    results: Mapping[str, Path] | None = None
    """Files of another tool by name of the pair; pairs without one are left out."""

    fit: Fit | None = None
    """What to do about results of another size; None refuses them."""

    limit: int | None = None
    """Stop after so many pairs."""

    @property
    def notes(self) -> Sequence[str]:
        """Those of the source."""
        return self.source.notes

    @property
    def skipped(self) -> Sequence[Skipped]:
        """Those of the source."""
        return self.source.skipped

    @property
    def ranges(self) -> Ranges | None:
        """Those of the source."""
        return self.source.ranges

    @property
    def length(self) -> int | None:
        """Number of pairs that are scored."""
        count = self.source.length if self.results is None else len(self.results)
        return count if count is None or self.limit is None else min(count, self.limit)

    def __iter__(self) -> Iterator[Entry[Images]]:
        """The pairs in order."""
        entries = (x for x in self.source if self.results is None or x.name in self.results)
        for entry in islice(entries, self.limit):
            yield Entry(entry.name, entry.origin, partial(self._read, entry))

    def _read(self, entry: Entry[Loaded]) -> Images:
        loaded = entry.read()
        first, second = (_grey(image, loaded.metadata) for image in loaded.pair[:2])
        pair = ImagePair(first, second, entry.name)
        if self.results is None:
            return Images(pair)
        path = self.results[entry.name]
        with trouble(f"read {path}", Exception):
            fused = published_grey(read_image(path))
        if fused.shape[-2:] == first.shape[-2:]:
            return Images(pair, fused)
        return self._fitted(pair, fused, path)

    def _fitted(self, pair: ImagePair, fused: Tensor, path: Path) -> Images:
        sizes = f"{path} is {_size(fused)} and its sources are {_size(pair.first)}"
        if self.fit is None:
            raise InputError(
                f"{sizes}: use results of the same size, resize them, or crop the sources.",
                setting=("resize", "crop"),
            )
        if self.fit == "resize":
            return Images(pair, read_pair(pair.first, fused, resize=True).second, "resize")
        height, width = fused.shape[-2:]
        if height > pair.first.shape[-2] or width > pair.first.shape[-1]:
            raise InputError(
                f"{sizes}, which cannot be cropped to it: resize the result.", setting="resize"
            )
        first, second = (_central(image, height, width) for image in pair[:2])
        return Images(ImagePair(first, second, pair.name), fused, "crop")


def _grey(image: Tensor, metadata: Metadata) -> Tensor:
    if metadata.bits == 8:  # resizing leaves values between levels, which are not to be truncated
        image = (image * 255).round() / 255
    return published_grey(image)


def _central(image: Tensor, height: int, width: int) -> Tensor:
    top, left = (image.shape[-2] - height) // 2, (image.shape[-1] - width) // 2
    return image[..., top : top + height, left : left + width]


def _size(image: Tensor) -> str:
    return f"{image.shape[-1]}x{image.shape[-2]}"
