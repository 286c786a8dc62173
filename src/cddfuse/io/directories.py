"""TIFF directories, the structure that TIFF files, EXIF blocks and their GPS parts share.

Reading is tolerant: an entry that is malformed is left out, since most entries describe the image
and not its pixels.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from mmap import mmap
from typing import NamedTuple

import numpy as np

Data = bytes | mmap
"""The bytes of a file."""

EXIF_POINTER, GPS_POINTER = 34665, 34853

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_SIZES |= {16: 8, 17: 8, 18: 8}  # BigTIFF
_CODES = {1: "B", 3: "H", 4: "I", 5: "II", 6: "b", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d"}
_CODES |= {13: "I", 16: "Q", 17: "q", 18: "Q"}
_INTEGERS = (1, 3, 4, 6, 8, 9, 13, 16, 17, 18)
_LONGEST = 2**24  # bytes of one entry


@dataclass(frozen=True)
class Field:
    """The value of one entry."""

    kind: int
    """Type code of TIFF, such as 3 for 16-bit unsigned integers."""

    count: int

    data: bytes
    """Little-endian."""

    def integers(self) -> tuple[int, ...]:
        """The values if they are integers, else nothing."""
        return self._numbers() if self.kind in _INTEGERS else ()  # type: ignore[return-value]

    def numbers(self) -> tuple[float, ...]:
        """The values, rationals divided; nothing if they are text or a denominator is 0."""
        values = self._numbers()
        if self.kind not in (5, 10):
            return values
        pairs = list(zip(values[::2], values[1::2], strict=True))
        return tuple(a / b for a, b in pairs) if all(b for _, b in pairs) else ()

    def _numbers(self) -> tuple[float, ...]:
        code = _CODES.get(self.kind)
        return struct.unpack(f"<{self.count * len(code)}{code[0]}", self.data) if code else ()


Fields = dict[int, Field]
"""Entries by tag."""


class Layout(NamedTuple):
    """Byte order, and whether offsets have 64 bits (BigTIFF)."""

    order: str
    big: bool

    @property
    def offset(self) -> struct.Struct:
        """How offsets are stored."""
        return struct.Struct(self.order + ("Q" if self.big else "I"))

    @property
    def length(self) -> struct.Struct:
        """How the number of entries is stored."""
        return struct.Struct(self.order + ("Q" if self.big else "H"))

    @property
    def head(self) -> struct.Struct:
        """Tag, type and count of an entry, which the value or its offset follows."""
        return struct.Struct(self.order + ("HHQ" if self.big else "HHI"))


@dataclass(frozen=True)
class Directory:
    """One directory and where it lies."""

    layout: Layout
    start: int
    fields: Fields = field(default_factory=dict)
    places: dict[int, int] = field(default_factory=dict)
    """Where in the data the entry of each tag starts."""

    next: int = 0
    """Offset of the next directory; 0 for the last."""

    def integers(self, tag: int) -> tuple[int, ...]:
        """Values of an entry; nothing if it is absent or holds no integers."""
        found = self.fields.get(tag)
        return found.integers() if found else ()

    def integer(self, tag: int, default: int) -> int:
        """First value of an entry, or the default."""
        return next(iter(self.integers(tag)), default)


def header(data: Data) -> tuple[Layout, int] | None:
    """Layout, and offset of the first directory; None if the data is not of this structure."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
    if order is None or len(data) < 8:
        return None
    version = struct.unpack_from(order + "H", data, 2)[0]
    if version == 42:
        return Layout(order, False), struct.unpack_from(order + "I", data, 4)[0]
    if version == 43 and len(data) >= 16 and bytes(data[4:8]) == struct.pack(order + "HH", 8, 0):
        return Layout(order, True), struct.unpack_from(order + "Q", data, 8)[0]
    return None


def read(data: Data, layout: Layout, start: int) -> Directory | None:
    """The directory at an offset, without entries that are malformed; None if there is none."""
    at = start + layout.length.size
    if start < 8 or at > len(data):
        return None
    size = layout.head.size + layout.offset.size
    count = layout.length.unpack_from(data, start)[0]
    fields, places = {}, {}
    for place in range(at, min(at + count * size, len(data) - size + 1), size):
        tag = struct.unpack_from(layout.order + "H", data, place)[0]
        value = _field(data, layout, place)
        if value is not None and tag not in fields:
            fields[tag], places[tag] = value, place
    end = at + count * size
    whole = end + layout.offset.size <= len(data)
    following = layout.offset.unpack_from(data, end)[0] if whole else 0
    return Directory(layout, start, fields, places, following)


def is_whole(data: Data, layout: Layout, start: int) -> bool:
    """Whether the data reaches to the end of the directory at an offset."""
    at = start + layout.length.size
    if at > len(data):
        return False
    count = layout.length.unpack_from(data, start)[0]
    end = at + count * (layout.head.size + layout.offset.size)
    return end + layout.offset.size <= len(data)  # where the offset of the next one is


def _field(data: Data, layout: Layout, place: int) -> Field | None:
    _, kind, count = layout.head.unpack_from(data, place)
    size = _SIZES.get(kind, 0) * count
    at = place + layout.head.size
    if size > layout.offset.size:
        at = layout.offset.unpack_from(data, at)[0]
    if not 0 < size <= _LONGEST or at + size > len(data):
        return None
    return Field(kind, count, _reordered(bytes(data[at : at + size]), kind, layout.order))


def _reordered(data: bytes, kind: int, order: str) -> bytes:
    """Swap the bytes of big-endian values; the same again swaps them back."""
    unit = _SIZES[kind] // 2 if kind in (5, 10) else _SIZES[kind]
    if order == "<" or unit == 1:
        return data
    return np.frombuffer(data, f"u{unit}").byteswap().tobytes()


def packed(fields: Mapping[int, Field | Fields], at: int, order: str = "<") -> bytes:
    """Bytes of a directory of classic TIFF, the last of its file.

    Args:
        fields: by tag; the fields of another directory stand for a pointer to it.
        at: where the bytes will lie in the file.
        order: of the bytes, "<" or ">".
    """
    tail_at = at + 2 + 12 * len(fields) + 4
    entries, tail = [], b""
    for tag, value in sorted(fields.items()):
        place = tail_at + len(tail)
        if isinstance(value, dict):
            tail += packed(value, place, order)
            entries.append(struct.pack(order + "HHII", tag, 4, 1, place))
            continue
        data = _reordered(value.data, value.kind, order)
        head = struct.pack(order + "HHI", tag, value.kind, value.count)
        if len(data) <= 4:
            entries.append(head + data.ljust(4, b"\0"))
        else:
            tail += data
            entries.append(head + struct.pack(order + "I", place))
        tail += bytes(len(tail) % 2)
    count = struct.pack(order + "H", len(entries))
    return count + b"".join(entries) + bytes(4) + tail
