"""What every format promises: a source gives pairs, a sink takes fused images."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Generic, Literal, NamedTuple, Protocol, TypeVar

from torch import Tensor

from cddfuse.io.listing import Skipped
from cddfuse.io.metadata import Metadata
from cddfuse.io.ranges import Ranges
from cddfuse.pair import ImagePair

Kind = Literal["images", "clip", "live", "pages", "volume"]

Content = TypeVar("Content", covariant=True)


class Loaded(NamedTuple):
    """A pair in memory."""

    pair: ImagePair
    metadata: Metadata
    """Facts of the files beside the pixels, which a sink may carry over to the result."""

    covered: Tensor | None = None
    """(1, H, W), the share of the second image in the result; None if it covers all of the first.
    Where it is 0, the result is the first image."""


class Entry(NamedTuple, Generic[Content]):
    """One pair of a source that has not been read yet."""

    name: str
    """What its result is filed under."""

    origin: str
    """What messages call it, such as `a.png and b.png`."""

    read: Callable[[], Content]
    """Reads it. What cannot be read is an `InputError` of this entry alone."""


class Source(Protocol[Content]):
    """A series of pairs: files of folders, frames of a clip, slices of a volume.

    Iteration runs in one thread, `Entry.read` in several: formats that decode in order do so while
    iterating.
    """

    @property
    def kind(self) -> Kind:
        """What its images are: files of their own, or parts of a clip, a TIFF file or a volume."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """Sentences for the user about the source as a whole."""
        ...

    @property
    def skipped(self) -> Sequence[Skipped]:
        """Files that look like a part of it and were not taken, with the reasons."""
        ...

    @property
    def ranges(self) -> Ranges | None:
        """The value range of each side, the same for all pairs; None if values stay as they are."""
        ...

    @property
    def length(self) -> int | None:
        """Number of entries; None where it shows only at the end, as of a camera."""
        ...

    def __iter__(self) -> Iterator[Entry[Content]]:
        """The entries in order. An `InputError` raised here ends the series."""
        ...


class Sink(Protocol):
    """Where fused images go."""

    @property
    def kind(self) -> Kind:
        """What they become there."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """Sentences for the user about the results as a whole."""
        ...

    def path(self, name: str) -> Path:
        """The file that holds the result of that name."""
        ...

    def has(self, name: str) -> bool:
        """Whether the result of that name is there already and is to be kept."""
        ...

    def write(self, name: str, image: Tensor, metadata: Metadata) -> bool:
        """Write a fused image (C, H, W) in [0, 1], atomically.

        False if the result was there already and was kept: another program may have written it.
        """
        ...

    def close(self) -> None:
        """Finish what the images are part of, such as a clip."""
        ...

    def abandon(self) -> None:
        """Leave nothing unfinished behind: the last image will not come."""
        ...


class PlainSink:
    """A sink with nothing to say and nothing to finish, as its images do not belong together."""

    kind: ClassVar[Kind] = "images"
    notes: Sequence[str] = ()

    def close(self) -> None:
        """Nothing is left to do."""

    def abandon(self) -> None:
        """Nothing is left to do."""
