"""Radiometric files of known content, as FLIR and DJI cameras write them."""

import struct
from typing import Any, NamedTuple

import numpy as np
from image_bytes import Array, encoded, png, segment
from PIL import Image

CAMERA = {
    **{"emissivity": 0.95, "distance": 2.0, "reflected": 293.15, "air": 286.15, "window": 291.15},
    **{"transmission": 0.9, "humidity": 0.5, "r1": 14866.5, "b": 1395.7, "f": 1.0},
    **{"a1": 0.006569, "a2": 0.01262, "b1": -0.002276, "b2": -0.00667, "x": 1.9},
    **{"o": -5859.0, "r2": 0.0110865},
}
"""Constants of the size that cameras have."""

_PLACES = {
    **{"emissivity": 0x20, "distance": 0x24, "reflected": 0x28, "air": 0x2C, "window": 0x30},
    **{"transmission": 0x34, "humidity": 0x3C, "r1": 0x58, "b": 0x5C, "f": 0x60},
    **{"a1": 0x70, "a2": 0x74, "b1": 0x78, "b2": 0x7C, "x": 0x80, "r2": 0x30C},
}


class Overlay(NamedTuple):
    """Scale and offsets of the thermal image in the photo."""

    scale: float
    x: int = 0
    y: int = 0


def raw_record(counts: Array, order: str = "<", body: bytes | None = None) -> bytes:
    height, width = counts.shape
    head = struct.pack(order + "HHH", 2, width, height).ljust(32, b"\0")
    return head + (counts.astype(order + "u2").tobytes() if body is None else body)


def swapped_png(counts: Array) -> bytes:
    """A PNG whose counts are little-endian, as cameras write them."""
    return png(counts.byteswap(), 0)


def camera_record(order: str = "<", **changes: float) -> bytes:
    record = bytearray(0x340)
    struct.pack_into(order + "H", record, 0, 2)
    values = CAMERA | changes
    for name, place in _PLACES.items():
        struct.pack_into(order + "f", record, place, values[name])
    struct.pack_into(order + "i", record, 0x308, int(values["o"]))
    return bytes(record)


def photo_records(photo: bytes, overlay: Overlay) -> dict[int, bytes]:
    return {0x0E: bytes(32) + photo, 0x2A: struct.pack("<fhh", *overlay).ljust(64, b"\0")}


def fff(records: dict[int, bytes], order: str = ">") -> bytes:
    """A container with these records, by kind."""
    start = 0x40
    at = start + 32 * len(records)
    entries, body = b"", b""
    for kind, record in records.items():
        entry = struct.pack(order + "HHIIII", kind, 0, 0, 0, at + len(body), len(record))
        entries, body = entries + entry.ljust(32, b"\0"), body + record
    head = b"FFF\0" + b"test".ljust(16, b"\0")
    head += struct.pack(order + "III", 101, start, len(records))
    return head.ljust(start, b"\0") + entries + body


def with_segments(picture: bytes, segments: bytes) -> bytes:
    """A JPEG with more segments."""
    return picture[:2] + segments + picture[2:]


def flir_segments(container: bytes, size: int = 60000) -> list[bytes]:
    parts = [container[at : at + size] for at in range(0, len(container), size)]
    return [
        segment(0xE1, b"FLIR\0\1" + bytes((number, len(parts) - 1)) + part)
        for number, part in enumerate(parts)
    ]


def flir_jpeg(records: dict[int, bytes], size: int = 60000, **options: Any) -> bytes:
    """A radiometric JPEG of FLIR, whose shown picture is red."""
    shown = encoded(Image.new("RGB", (32, 24), "red"), "JPEG", **options)
    return with_segments(shown, b"".join(flir_segments(fff(records), size)))


def dji_jpeg(counts: Array, marker: int = 0xE3, make: str = "DJI", size: int = 1000) -> bytes:
    """A radiometric JPEG of DJI, whose shown picture is blue."""
    exif = Image.Exif()
    exif[271] = make
    height, width = counts.shape
    shown = encoded(Image.new("RGB", (width, height), "blue"), "JPEG", exif=exif)
    data = counts.astype("<u2").tobytes()
    parts = [segment(marker, data[at : at + size]) for at in range(0, len(data), size)]
    return with_segments(shown, b"".join(parts))


def scene(height: int = 24, width: int = 32, low: int = 17000, high: int = 18300) -> Array:
    """Counts of a smooth scene with a warm body."""
    y, x = np.mgrid[:height, :width]
    body = (abs(y - height // 2) < height // 5) & (abs(x - width // 3) < width // 6)
    counts = low + (high - low) * (0.3 * x / width + 0.2 * y / height + 0.5 * body)
    return counts.astype(np.uint16)
