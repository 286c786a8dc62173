"""Multi-page TIFF files as clips: two as a source of pairs, page by page, and one as a sink."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cddfuse.errors import InputError, exists_already, folder_in_the_way
from cddfuse.io.decode import Decoded, Readable, decode_content, named, opened
from cddfuse.io.decoders import tiff
from cddfuse.io.directories import Data, Directory
from cddfuse.io.files import replacing
from cddfuse.io.folders import PairedPaths
from cddfuse.io.image_files import beside
from cddfuse.io.images import paired, quantize
from cddfuse.io.listing import Skipped
from cddfuse.io.metadata import Metadata
from cddfuse.io.ranges import Ranges, resolve_images
from cddfuse.io.source import Entry, Kind, Loaded
from cddfuse.io.transforms import located
from cddfuse.registration import Transform


@dataclass(frozen=True)
class Clip:
    """The pages of a file."""

    path: Path
    pages: Sequence[Directory]

    @classmethod
    def of(cls, path: Path) -> "Clip":
        """The pages of a TIFF file; none of a file of another format, which is one image."""
        with _content(path) as data, named(str(path)):
            known = bytes(data[:4]) in (b"II*\0", b"II+\0", b"MM\0*", b"MM\0+")
            return cls(path, tiff.pages(data) if known else ())

    @property
    def length(self) -> int:
        """Number of images."""
        return max(1, len(self.pages))

    def decode(self, number: int) -> Decoded:
        """The page of a number, from 0."""
        name = self.called(number)
        with _content(self.path) as data, named(name):
            page = tiff.extracted(data, self.pages[number])
        return decode_content(page, name)

    def called(self, number: int) -> str:
        """What messages call a page."""
        return f"page {number + 1} of {self.path}"

    @property
    def images(self) -> list[Readable]:
        """All pages."""
        return [
            Readable(partial(self.decode, number), partial(self._is_deep, number))
            for number in range(len(self.pages))
        ]

    def _is_deep(self, number: int) -> bool:
        bits, formats = (self.pages[number].integers(tag) for tag in (258, 339))
        return max(bits, default=1) > 8 or any(code in (2, 3) for code in formats)


class Mapping(NamedTuple):
    """How the pages of two clips are read."""

    resize: bool = False
    celsius: bool = False
    ranges: Ranges | None = None
    transform: Transform | None = None


@dataclass(frozen=True)
class ClipPairs:
    """Two clips as a source of pairs."""

    kind: ClassVar[Kind] = "pages"
    first: Clip
    second: Clip
    mapping: Mapping
    notes: Sequence[str] = ()
    skipped: Sequence[Skipped] = ()

    @classmethod
    def of(cls, first: Clip, second: Clip, mapping: Mapping) -> "ClipPairs":
        """The pairs of two clips of the same length, their range fixed over all pages."""
        counts = first.length, second.length
        if counts[0] != counts[1]:
            raise InputError(
                f"{first.path} holds {_images(counts[0])} and {second.path} {_images(counts[1])}: "
                "give two of the same number."
            )
        found = resolve_images(mapping.ranges or Ranges(), first.images, second.images, noun="page")
        notes = [found.sentence] if found.sentence else []
        return cls(first, second, mapping._replace(ranges=found.ranges), notes)

    @property
    def ranges(self) -> Ranges | None:
        """Those of all pages."""
        return self.mapping.ranges

    @property
    def celsius(self) -> bool:
        """Whether temperatures are written beside the results."""
        return self.mapping.celsius

    @property
    def length(self) -> int:
        """Number of pages."""
        return self.first.length

    @property
    def pairs(self) -> list[PairedPaths]:
        """The files of each page, with the name of its result."""
        digits = max(4, len(str(self.length)))
        paths = self.first.path, self.second.path
        return [PairedPaths(f"{page:0{digits}}", *paths) for page in range(1, self.length + 1)]

    def __iter__(self) -> Iterator[Entry[Loaded]]:
        """The pages in order."""
        for number, (name, first, second) in enumerate(self.pairs):
            origin = f"page {number + 1} of {first} and {second}"
            yield Entry(name, origin, partial(self._read, number, name))

    def _read(self, number: int, name: str) -> Loaded:
        clips = self.first, self.second
        one, other = (clip.decode(number) for clip in clips)
        names = self.first.called(number), self.second.called(number)
        resize, celsius, ranges, transform = self.mapping
        any_size = transform is not None
        pair = paired((one, other), names, name, resize, ranges, celsius, any_size)
        return located(Loaded(*pair), transform)


@dataclass
class ClipFile:
    """Fused images as the pages of a TIFF file, which appears when all of them are there."""

    kind: ClassVar[Kind] = "pages"
    output: Path
    length: int
    """Number of pages that are expected."""

    bits: Literal[8, 16] | None = None
    celsius: Path | None = None
    """Where the temperatures go, as a clip too."""

    notes: Sequence[str] = ()
    _stack: ExitStack = field(default_factory=ExitStack)
    _writers: dict[Path, Callable[..., Any]] = field(default_factory=dict)
    _written: int = 0

    def path(self, name: str) -> Path:
        """The one file."""
        return self.output

    def has(self, name: str) -> bool:
        """Never: an unfinished file is not kept."""
        return False

    def write(self, name: str, image: Tensor, metadata: Metadata) -> bool:
        """Append a page."""
        self._append(self.output, quantize(image, self.bits or metadata.bits))
        if self.celsius and metadata.celsius is not None:
            self._append(self.celsius, metadata.celsius)
        self._written += 1
        return True

    def close(self) -> None:
        """Move the file to its place; without all pages it would show the wrong moments."""
        if self._written != self.length:
            failed = self.length - self._written
            error = InputError(
                f"{self.output} was not written, for {failed} of its {self.length} pages failed: "
                "give a folder for the results, which also says what is wrong with them.",
                setting="output",
            )
            self.abandon()
            raise error
        self._stack.close()

    def abandon(self) -> None:
        """Leave no unfinished file behind."""
        stack, self._stack = self._stack, ExitStack()
        stack.__exit__(InterruptedError, InterruptedError(), None)

    def _append(self, path: Path, page: NDArray[Any]) -> None:
        if path not in self._writers:
            self._writers[path] = self._begin(path)
        colours: Literal["rgb", "minisblack"] = "rgb" if page.ndim == 3 else "minisblack"
        self._writers[path](
            np.ascontiguousarray(page),
            photometric=colours,
            compression="zlib",
            metadata=None,
            software=False,
        )

    def _begin(self, path: Path) -> Callable[..., Any]:
        import tifffile

        temporary = self._stack.enter_context(replacing(path))
        return self._stack.enter_context(tifffile.TiffWriter(temporary, bigtiff=True)).write


def tiff_file(
    source: ClipPairs, output: Path, bits: Literal[8, 16] | None, *, overwrite: bool
) -> ClipFile:
    """A file for the results of two clips. Refuses what would replace a source or a result."""
    celsius = beside(output) if source.celsius else None
    for path in filter(None, (output, celsius)):
        if path.resolve() in {source.first.path.resolve(), source.second.path.resolve()}:
            raise InputError(f"{path} is a source: choose another name.", "output")
        if os.path.isdir(path):
            raise folder_in_the_way(path)
        if os.path.exists(path) and not overwrite:
            raise exists_already(path)
    return ClipFile(output, source.length, bits, celsius)


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


@contextmanager
def _content(path: Path) -> Iterator[Data]:
    """The bytes of a file, of which only those that are used are read."""
    with opened(path) as file:
        try:
            data: Data = mmap(file.fileno(), 0, access=ACCESS_READ)
        except (OSError, ValueError):  # a disk that maps no files
            data = file.read()
        try:
            yield data
        finally:
            if isinstance(data, mmap):
                data.close()
