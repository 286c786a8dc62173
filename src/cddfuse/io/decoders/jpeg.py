"""JPEG: Pillow decodes 8 bits, imagecodecs the 12 bits and lossless forms of medical devices."""

import struct
from collections.abc import Iterator
from functools import partial
from io import BytesIO

from PIL import JpegImagePlugin

from cddfuse.io.decoders.base import Encoded, Pixels, UnreadableError
from cddfuse.io.decoders.pillow import flattened
from cddfuse.io.directories import Data
from cddfuse.io.metadata import NO_EXIF, Ancillary, read_exif, usable_dpi

_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_SCAN, _COMMENT = 0xDA, 0xFE
_JFIF = b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_PROFILE = b"ICC_PROFILE\0"

Segment = tuple[int, int, int]  # marker, start and end of the body


def jpeg(data: Data) -> Encoded:
    """A JPEG file. Of several images in it (MPO), the others are previews nobody means."""
    parts = list(segments(data))
    frame = next((part for part in parts if part[0] in _FRAMES), None)
    if frame is None or frame[2] - frame[1] < 6:
        raise ValueError("there is no header")
    bits, height, width, channels = struct.unpack_from(">BHHB", data, frame[1])
    ancillary = _ancillary(data, parts)
    if bits == 8 and frame[0] != 0xC3:
        pixels = partial(_pixels, data, parts, ancillary.icc)
    else:
        pixels = partial(_deep_pixels, data, bits, channels)
    return Encoded(width, height, bits, "u", pixels, 1, ancillary)


def segments(data: Data) -> Iterator[Segment]:
    """Marker, start and end of all segments up to the first scan, whose end is that of the data."""
    at = 2
    while True:
        at = data.find(b"\xff", at)
        while 0 <= at < len(data) and data[at] == 0xFF:  # fill bytes
            at += 1
        if at < 0 or at + 3 > len(data):
            return
        marker, at = data[at], at + 1
        if marker in (0, 1, *range(0xD0, 0xD9)):  # without a body
            continue
        end = at + struct.unpack_from(">H", data, at)[0]
        if marker == _SCAN:
            yield marker, at + 2, len(data)
            return
        yield marker, at + 2, min(end, len(data))
        at = max(end, at + 2)


def _pixels(data: Data, parts: list[Segment], profile: bytes) -> Pixels:
    return flattened(JpegImagePlugin.JpegImageFile(BytesIO(_image_only(data, parts))), profile)


def _deep_pixels(data: Data, bits: int, channels: int) -> Pixels:
    import imagecodecs

    array = imagecodecs.jpeg_decode(bytes(data), bitspersample=bits)
    if array.shape[2:] not in ((), (1,), (3,)):
        raise UnreadableError(f"holds {channels} channels of {bits} bits: save it as RGB or grey.")
    return array[..., 0] if array.shape[2:] == (1,) else array


def _image_only(data: Data, parts: list[Segment]) -> bytes:
    """The file without comments and application data that do not say what its channels are."""
    view = memoryview(data)
    kept: list[bytes | memoryview] = [b"\xff\xd8"]
    for marker, start, end in parts:
        body = bytes(data[start : start + 12]) if 0xE0 <= marker <= 0xEF else b""
        if marker == 0xE0 and body.startswith(b"JFIF\0"):
            kept.append(_JFIF)
        elif not 0xE0 <= marker <= 0xEF and marker != _COMMENT:
            kept += [bytes((0xFF, marker)), view[start - 2 : end]]
        elif marker == 0xEE and body.startswith(b"Adobe") and end - start >= 12:
            kept += [b"\xff\xee\0\x0e", view[start : start + 12]]
    return b"".join(kept)


def _ancillary(data: Data, parts: list[Segment]) -> Ancillary:
    exif, xmp, dpi, profile = NO_EXIF, b"", None, []
    for marker, start, end in parts:
        if not 0xE0 <= marker <= 0xE2:
            continue
        body = bytes(data[start:end])
        if marker == 0xE0 and body.startswith(b"JFIF\0") and len(body) >= 12:
            unit, x, y = struct.unpack_from(">BHH", body, 7)
            scale = {1: 1.0, 2: 2.54}.get(unit, 0.0)  # per inch, per centimetre
            dpi = dpi or usable_dpi(x * scale, y * scale)
        elif marker == 0xE1 and body.startswith(b"Exif\0") and exif is NO_EXIF:
            exif = read_exif(body)
        elif marker == 0xE1 and body.startswith(_XMP):
            xmp = xmp or body[len(_XMP) :]
        elif marker == 0xE2 and body.startswith(_PROFILE):
            profile.append(body[len(_PROFILE) :])
    return Ancillary(exif, xmp, _joined(profile), dpi)


def _joined(parts: list[bytes]) -> bytes:
    """A profile from its parts, each after its number and the count of all."""
    ordered = sorted(parts, key=lambda part: part[:1])
    return b"".join(part[2:] for part in ordered)
