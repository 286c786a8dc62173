"""What image files say beside their pixels, and the part of it that a fused image inherits.

Reading is tolerant: what is malformed is left out, and never makes an image unreadable.
"""

import re
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cddfuse.io import directories
from cddfuse.io.directories import EXIF_POINTER, GPS_POINTER, Data, Directory, Field, Fields

ORIENTATION, _X_RESOLUTION, _Y_RESOLUTION, _UNIT, _XMP, _ICC = 274, 282, 283, 296, 700, 34675
_CAMERA = (271, 272, 306, 315, 33432)  # make, model, time, artist, copyright
# The pixel size, colour space and interoperability rules of the source, and notes with offsets
# that are wrong in another file.
_STALE = (37500, 40961, 40962, 40963, 40965)
_GEO = (33550, 33922, 34264, 34735, 34736, 34737)
_LONGEST = 4096  # bytes of one EXIF entry; JPEG holds 64 KB in all
_IN_XMP = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')


class Exif(NamedTuple):
    """Entries of an EXIF block by tag; those of TIFF are in the same tables."""

    main: Fields
    photo: Fields
    gps: Fields


NO_EXIF = Exif({}, {}, {})


class Ancillary(NamedTuple):
    """What a file holds beside its pixels."""

    exif: Exif = NO_EXIF
    xmp: bytes = b""
    icc: bytes = b""
    dpi: tuple[float, float] | None = None


NOTHING = Ancillary()


@dataclass(frozen=True)
class Metadata:
    """What a fused image inherits from its sources, written where the format holds it.

    Left behind are what describes the pixels of a source (profile, nodata value, band statistics)
    and what cannot be moved to another file (maker notes, thumbnails, XMP).
    """

    bits: Literal[8, 16] = 8
    """Bits per channel that keep what the sources hold."""

    exif: Exif = NO_EXIF
    """Camera, time and place; the orientation is upright, as images are turned when read."""

    dpi: tuple[float, float] | None = None
    """Dots per inch, horizontally and vertically."""

    geo: Fields = field(default_factory=dict)
    """Tags of GeoTIFF: the grid and its coordinate system. They need the size of the source."""

    time: Fraction | None = None
    """Of a frame of a clip, in seconds from its start."""
    celsius: NDArray[np.float32] | None = None
    """Temperatures (H, W) of the thermal source in degrees Celsius, which go to a file of their own
    beside the result."""


def read_exif(block: bytes) -> Exif:
    """The entries of an EXIF block, with or without its prefix; none of one that is malformed."""
    data = block[6:] if block[:6] in (b"Exif\0\0", b"Exif\0\xff") else block
    start = directories.header(data)
    main = directories.read(data, *start) if start else None
    return exif_of(data, main) if main else NO_EXIF


def exif_of(data: Data, main: Directory) -> Exif:
    """The entries of a directory and of its EXIF and GPS parts."""
    parts = []
    for pointer in (EXIF_POINTER, GPS_POINTER):
        part = directories.read(data, main.layout, main.integer(pointer, 0))
        parts.append(part.fields if part else {})
    return Exif(main.fields, *parts)


def of_directory(data: Data, main: Directory) -> Ancillary:
    """What the directory of a TIFF page says beside the pixels."""
    xmp, icc = (main.fields[tag].data if tag in main.fields else b"" for tag in (_XMP, _ICC))
    return Ancillary(exif_of(data, main), xmp, icc)


def orientation(ancillary: Ancillary) -> int:
    """The orientation of EXIF, from 1 (upright) to 8, else that of XMP."""
    turn = _integer(ancillary.exif.main, ORIENTATION)
    if turn is None:
        found = _IN_XMP.search(ancillary.xmp)
        turn = int(found[1]) if found else 1
    return turn if 1 <= turn <= 8 else 1


def inherited(ancillary: Ancillary, bits: Literal[8, 16]) -> Metadata:
    """What a fused image inherits from its first source."""
    turn = orientation(ancillary)
    exif = ancillary.exif
    main = {tag: exif.main[tag] for tag in _CAMERA if tag in exif.main}
    photo = {tag: value for tag, value in exif.photo.items() if tag not in _STALE}
    kept = Exif(*(_short(fields) for fields in (main, photo, exif.gps)))
    if any(kept):
        kept = kept._replace(main=kept.main | {ORIENTATION: Field(3, 1, b"\1\0")})
    dpi = ancillary.dpi or _dpi(exif.main)
    geo = {tag: exif.main[tag] for tag in _GEO if tag in exif.main}
    # A turned raster no longer lies in the grid of its tags.
    return Metadata(bits, kept, dpi[::-1] if dpi and turn > 4 else dpi, geo if turn == 1 else {})


def exif_block(exif: Exif) -> bytes:
    """The EXIF block of a file, without prefix; empty if there is nothing to say."""
    if not any(exif):
        return b""
    return b"II*\0\x08\0\0\0" + directories.packed(_nested(exif), 8)


def tiff_fields(metadata: Metadata) -> dict[int, Field | Fields]:
    """The entries of a TIFF directory that hold the metadata."""
    fields = _nested(metadata.exif) | metadata.geo
    if metadata.dpi:
        x, y = (_rational(value) for value in metadata.dpi)
        fields |= {_X_RESOLUTION: x, _Y_RESOLUTION: y, _UNIT: Field(3, 1, b"\2\0")}
    return fields


def _nested(exif: Exif) -> dict[int, Field | Fields]:
    parts = {EXIF_POINTER: exif.photo, GPS_POINTER: exif.gps}
    return {**exif.main, **{tag: part for tag, part in parts.items() if part}}


def _short(fields: Fields) -> Fields:
    return {tag: value for tag, value in fields.items() if len(value.data) <= _LONGEST}


def _integer(fields: Fields, tag: int) -> int | None:
    return next(iter(fields[tag].integers()), None) if tag in fields else None


def _dpi(main: Fields) -> tuple[float, float] | None:
    inches = {2: 1.0, 3: 2.54}.get(_integer(main, _UNIT) or 2)
    values = [main[tag].numbers() for tag in (_X_RESOLUTION, _Y_RESOLUTION) if tag in main]
    if inches is None or len(values) < 2 or not all(len(value) == 1 for value in values):
        return None
    return usable_dpi(values[0][0] * inches, values[1][0] * inches)


def usable_dpi(x: float, y: float) -> tuple[float, float] | None:
    """A resolution that every format can hold; None if there is none."""
    return (x, y) if min(x, y) >= 1 and max(x, y) <= 60000 else None


def _rational(value: float) -> Field:
    whole = round(value * 10000)
    return Field(5, 1, whole.to_bytes(4, "little") + (10000).to_bytes(4, "little"))
