"""The FFF container of FLIR: a header, a directory and records.

It is a file of its own (`.fff`), or lies in the APP1 segments of a radiometric JPEG. Each part has
its own byte order. Layouts as ExifTool documents them (https://exiftool.org/TagNames/FLIR.html).
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cddfuse.io.decoders.base import UnreadableError
from cddfuse.io.decoders.jpeg import segments
from cddfuse.io.decoders.png import SIGNATURE, png
from cddfuse.io.thermal.planck import Calibration

MAGIC = (b"FFF\0", b"AFF\0")
_SEGMENT = b"FLIR\0\1"
_RAW, _PHOTO, _CAMERA, _OVERLAY = 0x01, 0x0E, 0x20, 0x2A
_VERSIONS = range(100, 200)
_ENTRY = 32  # bytes of an entry of the directory, and of the header of a record with pixels
_MOST_PIXELS = 10**8
_JPEG_LS_FRAME = 0xF7

_OFFSETS = {
    **{"emissivity": 0x20, "distance": 0x24, "reflected": 0x28, "air": 0x2C, "window": 0x30},
    **{"transmission": 0x34, "humidity": 0x3C, "r1": 0x58, "b": 0x5C, "f": 0x60},
    **{"a1": 0x70, "a2": 0x74, "b1": 0x78, "b2": 0x7C, "x": 0x80, "r2": 0x30C},
}
_O_OFFSET = 0x308


class Raw(NamedTuple):
    """What the sensor counted, not decoded yet."""

    width: int
    height: int
    order: str
    """Of the bytes: "<" or ">"."""

    body: bytes


class Overlay(NamedTuple):
    """Where the thermal image lies in the photo that the camera took beside it."""

    scale: float
    """Width of the photo over that of the part which the thermal camera sees (Real2IR)."""

    x: int
    y: int
    """Centre of that part from the centre of the photo, in pixels of the photo."""


@dataclass(frozen=True)
class Recording:
    """The records of one file, by kind; of several of a kind the first."""

    records: dict[int, bytes]

    @property
    def raw(self) -> Raw | None:
        """The counts; None in files that hold a photo only."""
        record = self.records.get(_RAW)
        return None if record is None else _raw(record)

    @property
    def calibration(self) -> Calibration | None:
        """What turns counts into degrees; None where the file does not say, or nonsense."""
        record = self.records.get(_CAMERA)
        found = record and _calibration(record)
        return found if found and found.usable else None

    @property
    def photo(self) -> bytes | None:
        """The file of the photo, a JPEG or a PNG whose channels are Y, Cb and Cr."""
        record = self.records.get(_PHOTO)
        return record[_ENTRY:] if record and len(record) > _ENTRY else None

    @property
    def overlay(self) -> Overlay:
        """Where the thermal image lies in the photo; all of it where the file does not say."""
        record = self.records.get(_OVERLAY, b"")
        if len(record) < 8:
            return Overlay(1.0, 0, 0)
        scale, x, y = struct.unpack_from("<fhh", record)
        return Overlay(scale, x, y) if 0.1 <= scale <= 20 else Overlay(1.0, 0, 0)


def joined(segments: Iterable[bytes]) -> bytes | None:
    """The FFF container in APP1 segments of a JPEG; None if there is none.

    Each part says its number and that of the last one.
    """
    parts: dict[int, bytes] = {}
    last = -1
    for body in segments:
        if body.startswith(_SEGMENT) and len(body) >= 8:
            last = body[7]
            parts.setdefault(body[6], body[8:])
    if last < 0:
        return None
    if sorted(parts) != list(range(last + 1)):
        raise ValueError(f"{len(parts)} of the {last + 1} parts of its FLIR data are there")
    return b"".join(parts[number] for number in sorted(parts))


def recording(data: bytes) -> Recording:
    """The records of a container."""
    if data[:4] not in MAGIC or len(data) < 0x40:
        raise ValueError("its FLIR data has no header")
    order = next((x for x in "><" if _unpack(x + "I", data, 0x14) in _VERSIONS), None)
    if order is None:
        raise ValueError("its FLIR data is of an unknown version")
    start, count = struct.unpack_from(order + "II", data, 0x18)
    if start + _ENTRY * count > len(data):
        raise ValueError("its FLIR directory is cut short")
    records: dict[int, bytes] = {}
    for at in range(start, start + _ENTRY * count, _ENTRY):
        kind = int(_unpack(order + "H", data, at))
        offset, length = struct.unpack_from(order + "II", data, at + 12)
        if kind and length and kind not in records:
            if offset + length > len(data):
                raise ValueError("a FLIR record is cut short")
            records[kind] = data[offset : offset + length]
    return Recording(records)


def counts(raw: Raw) -> NDArray[np.uint16]:
    """The counts (H, W)."""
    if raw.body.startswith(SIGNATURE):
        return _in_order(_exactly(png(raw.body).pixels(), raw))
    if raw.body.startswith(b"\xff\xd8\xff"):
        import imagecodecs

        _require_frame(raw)
        return _exactly(imagecodecs.jpegls_decode(raw.body), raw)
    flat = np.frombuffer(raw.body, raw.order + "u2", raw.width * raw.height)
    return flat.reshape(raw.height, raw.width).astype(np.uint16)


def _raw(record: bytes) -> Raw:
    order = _order(record)
    if len(record) <= _ENTRY:
        raise ValueError("its FLIR image is cut short")
    width, height = struct.unpack_from(order + "HH", record, 2)
    body = record[_ENTRY:]
    if body.startswith(SIGNATURE):  # the image says its size itself
        header = png(body)
        width, height = header.width, header.height
    if not 0 < width * height <= _MOST_PIXELS:
        raise ValueError(f"its FLIR image has {width}x{height} pixels")
    return Raw(width, height, order, body)


def _require_frame(raw: Raw) -> None:
    """Refuse JPEG-LS of another size than the record says, before it takes memory."""
    starts = (start for kind, start, _ in segments(raw.body) if kind == _JPEG_LS_FRAME)
    sizes = [struct.unpack_from(">HH", raw.body, start + 1) for start in starts]
    if sizes != [(raw.height, raw.width)]:
        raise ValueError("its FLIR image is of another size than its record says")


def _exactly(array: NDArray[np.uint16], raw: Raw) -> NDArray[np.uint16]:
    if array.dtype != np.uint16 or array.shape != (raw.height, raw.width):
        raise UnreadableError("holds FLIR counts that are not grey of 16 bits: convert it to TIFF.")
    return array


def _in_order(array: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """A PNG is big-endian, but cameras write their little-endian counts into it.

    The right order is the smoother one by far: the wrong one takes low bits for high ones.
    """
    swapped = array.byteswap()
    return swapped if _roughness(swapped) <= _roughness(array) else array


def _roughness(array: NDArray[np.uint16]) -> float:
    flat = array.reshape(-1).astype(np.int32)
    return float(np.abs(np.diff(flat)).sum(dtype=np.float64))


def _calibration(record: bytes) -> Calibration | None:
    if len(record) < max(_OFFSETS.values()) + 4:
        return None
    order = _order(record)
    values = {name: _unpack(order + "f", record, at) for name, at in _OFFSETS.items()}
    return Calibration(**values, o=_unpack(order + "i", record, _O_OFFSET))


def _order(record: bytes) -> str:
    """Of the bytes of a record, whose first word is 2."""
    return "<" if record[:2] == b"\2\0" else ">"


def _unpack(form: str, data: bytes, at: int) -> float:
    value: float = struct.unpack_from(form, data, at)[0]
    return value
