"""Two clips, or one that holds both sides, as a source of pairs: in sync by presentation time."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor

from cddfuse import colour
from cddfuse.errors import InputError
from cddfuse.io.decode import Decoded, Readable
from cddfuse.io.images import paired
from cddfuse.io.listing import Skipped
from cddfuse.io.ranges import Ranges, resolve_images
from cddfuse.io.source import Entry, Kind, Loaded
from cddfuse.io.transforms import located
from cddfuse.io.video.settings import ClipReading, Layout
from cddfuse.io.video.streams import Facts, FileStream, ImageStream, Picture, Problems, Stream
from cddfuse.registration import Transform

_STALE = Fraction(1, 2)  # seconds that the frames of a pair may be apart at most
_COLOURED = 8  # frames that tell whether a clip has colour

Side = Literal["first", "second"]
Read = Callable[[], Decoded]


@dataclass(frozen=True)
class Clip:
    """Pairs of frames."""

    kind: ClassVar[Kind] = "clip"
    first: Stream
    second: Stream | None
    """None if the first holds both sides."""

    reading: ClipReading
    notes: Sequence[str] = ()
    resize: bool = False
    """Bring the second frame to the size of the first."""

    ranges: Ranges | None = None
    """The value range of each side, the same for all frames."""

    coloured: Side | None = None
    """The side whose colour counts, so that no frame takes that of the other."""

    skipped: Sequence[Skipped] = ()
    transform: Transform | None = None
    """Where the frames of the first lie in those of the second, the same for all."""

    any_size: bool = False
    """Take second frames of any size as they are, also without a transform."""

    @classmethod
    def of(
        cls,
        first: Stream,
        second: Stream | None,
        reading: ClipReading,
        ranges: Ranges,
        resize: bool = False,
        transform: Transform | None = None,
        any_size: bool = False,
    ) -> "Clip":
        """A clip whose value ranges and colour are found in frames of the whole clip."""
        samples = _both_samples(first, second, reading.layout)
        resolved, sentence = resolve_images(ranges, *samples, noun="frame")
        notes = [sentence] if sentence else []
        clip = cls(first, second, reading, notes, resize, resolved)
        clip = replace(clip, transform=transform, any_size=any_size or transform is not None)
        clip._check_sizes()
        if second and clip._rest > clip._most():
            rest = f"{float(clip._rest):.1f} s"
            notes.append(f"left out: {rest} of {second.name}, after the end of {first.name}")
        return replace(clip, coloured=_coloured(*samples))

    @property
    def name(self) -> str:
        """What messages call both sides."""
        return self.first.name + (f" and {self.second.name}" if self.second else "")

    @property
    def facts(self) -> Facts:
        """Those of the results."""
        facts = self.first.facts
        if self.reading.layout:
            wide = self.reading.layout.startswith("side")
            return facts._replace(
                width=facts.width // 2 if wide else facts.width,
                height=facts.height if wide else facts.height // 2,
            )
        return facts

    @property
    def length(self) -> int | None:
        """Number of frames, roughly where the file does not say."""
        facts = self.first.facts
        if facts.frames:
            return facts.frames
        return round(facts.duration * facts.rate) if facts.duration else None

    @property
    def files(self) -> list[Path]:
        """What must not be overwritten."""
        return [path for path, _ in self.offsets]

    @property
    def offsets(self) -> list[tuple[Path, Fraction]]:
        """Its files, with the seconds from the first frame of each to that of the first clip."""
        sides = ((self.first, Fraction(0)), (self.second, self.reading.offset))
        return [(side.path, offset) for side, offset in sides if isinstance(side, FileStream)]

    @property
    def folders(self) -> list[Path]:
        """Where images of it lie."""
        sides = (self.first, self.second)
        return [side.folder.resolve() for side in sides if isinstance(side, ImageStream)]

    def __iter__(self) -> Iterator[Entry[Loaded]]:
        """The pairs in order, and at the end an entry that fails for each file that is damaged."""
        problems, number, apart = Problems(list), -1, 0
        for number, (time, one, other) in enumerate(self._pairs(problems)):
            if other is None:
                apart += 1
                continue
            name = f"{number:06d}"
            read = partial(self._read, name, time, one.read, other.read)
            yield Entry(name, f"frame {number} of {self.name}", read)
        if apart == number + 1:
            raise InputError(
                f"{self.name} have no time in common: check the files and the offset.", "offset"
            )
        if apart:
            problems[self.name].append(
                f"{apart} of {number + 1} frames have no partner within {float(self._most()):.2f} s"
            )
        if (
            self.second
            and isinstance(self.first, FileStream)
            and self._rest > self._most()
            and self.first.looks_cut
        ):
            problems[self.first.name].append(
                f"it ends amid a packet, {float(self._rest):.1f} s before {self.second.name} does"
            )
        for name, sentences in problems.items():
            yield Entry(name, name, partial(_fail, f"{name}: {', '.join(sentences)}."))

    def _pairs(self, problems: Problems) -> Iterator[tuple[Fraction, Picture, Picture | None]]:
        if self.second is None:
            assert self.reading.layout is not None  # `open_clip` sees to it
            for picture in self.first.pictures(problems):
                one, other = _halves(picture, self.reading.layout)
                yield picture.time, one, other
        else:
            yield from synchronised(
                self.first.pictures(problems),
                self.second.pictures(problems),
                self.reading.offset,
                self._most(),
            )

    def _most(self) -> Fraction:
        """Seconds that two frames of a pair may be apart."""
        return max(_STALE, 2 / self.second.facts.rate) if self.second else _STALE

    @property
    def _rest(self) -> Fraction:
        """Seconds for which the second clip goes on after the first, by what the files say."""
        one, other = self.first.facts.duration, self.second and self.second.facts.duration
        return other - self.reading.offset - one if one and other else Fraction(0)

    def _read(self, name: str, time: Fraction, one: Read, other: Read) -> Loaded:
        names = (self.first.name, self.second.name if self.second else "its other half")
        pair, metadata = paired(
            (one(), other()),
            names,
            name,
            self.resize,
            self.ranges,
            any_size=self.any_size,
        )
        if self.coloured != "first":
            pair = pair._replace(first=colour.luma(pair.first))
        if self.coloured != "second":
            pair = pair._replace(second=colour.luma(pair.second))
        return located(Loaded(pair, replace(metadata, time=time)), self.transform)

    def _check_sizes(self) -> None:
        """Refuse what would go wrong with every frame."""
        facts, layout = self.first.facts, self.reading.layout
        if layout:
            side, name = (
                (facts.width, "width") if layout.startswith("side") else (facts.height, "height")
            )
            if side % 2:
                raise InputError(
                    f"{self.first.name} has a {name} of {side} pixels, which has no half: cut it "
                    "to an even size first.",
                    "layout",
                )
        if self.transform:
            other = self.second.facts if self.second else self.facts
            for which, found in (("first", self.facts), ("second", other)):
                self.transform.require(which, (found.width, found.height), f"{self.name}: ")
        elif self.second and not (self.resize or self.any_size):
            sizes = [
                f"{side.facts.width}x{side.facts.height}" for side in (self.first, self.second)
            ]
            if sizes[0] != sizes[1]:
                raise InputError(
                    f"{self.first.name} is {sizes[0]} and {self.second.name} is {sizes[1]}: use "
                    "clips of one size, or resize the second.",
                    "resize",
                )


def synchronised(
    first: Iterator[Picture], second: Iterator[Picture], offset: Fraction, most: Fraction
) -> Iterator[tuple[Fraction, Picture, Picture | None]]:
    """Each picture of the first clip with the one of the second that is nearest in time.

    Of two that are equally near the later one is taken. None stands for one that is more than
    `most` seconds away.
    """
    before, after = next(second, None), next(second, None)
    for picture in first:
        wanted = picture.time + offset
        while before and after and abs(after.time - wanted) <= abs(before.time - wanted):
            before, after = after, next(second, None)
        fits = before is not None and abs(before.time - wanted) <= most
        yield picture.time, picture, before if fits else None


def _halves(picture: Picture, layout: Layout) -> tuple[Picture, Picture]:
    places = (1, 0) if layout.endswith("swapped") else (0, 1)
    one, other = (partial(_half, picture.read, layout, place) for place in places)
    return picture._replace(read=one), picture._replace(read=other)


def _half(read: Read, layout: Layout, place: int) -> Decoded:
    image = read()
    axis = 1 if layout.startswith("side") else 0
    middle = image.pixels.shape[axis] // 2
    span = slice(place * middle, (place + 1) * middle)
    pixels = image.pixels[:, span] if axis else image.pixels[span]
    return replace(image, pixels=pixels)


def _both_samples(
    first: Stream, second: Stream | None, layout: Layout | None
) -> tuple[Sequence[Readable], Sequence[Readable]]:
    if second:
        return first.samples(), second.samples()
    assert layout is not None
    places = (1, 0) if layout.endswith("swapped") else (0, 1)
    one, other = (
        [
            Readable(partial(_half, sample.read, layout, place), sample.deep)
            for sample in first.samples()
        ]
        for place in places
    )
    return one, other


def _coloured(first: Sequence[Readable], second: Sequence[Readable]) -> Side | None:
    if _has_colour(first):
        return "first"
    return "second" if _has_colour(second) else None


def _has_colour(samples: Sequence[Readable]) -> bool:
    for sample in samples[:: max(1, len(samples) // _COLOURED)]:
        with suppress(InputError):  # it fails when it is fused
            image = sample.read()
            if image.pixels.ndim == 3 and colour.present(_tensor(image)):
                return True
    return False


def _tensor(image: Decoded) -> Tensor:
    return torch.from_numpy(image.pixels / image.full[1]).movedim(2, 0)


def _fail(sentence: str) -> Loaded:
    raise InputError(f"{sentence[:-1]}: what could be fused is done.")
