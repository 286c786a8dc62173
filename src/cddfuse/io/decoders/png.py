"""PNG: Pillow decodes it, except for more than one channel of 16 bits, which it cuts to 8."""

import struct
import zlib
from collections.abc import Iterator
from functools import partial
from io import BytesIO

from PIL import PngImagePlugin

from cddfuse.io import icc
from cddfuse.io.decoders.base import Encoded, Pixels
from cddfuse.io.decoders.pillow import flattened
from cddfuse.io.directories import Data
from cddfuse.io.metadata import Ancillary, read_exif, usable_dpi

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LONGEST = 2**24  # bytes of a text or profile after decompression
_GREY = (0, 4)  # colour types: grey, grey with alpha


def png(data: Data) -> Encoded:
    """A PNG file."""
    chunks = list(_chunks(data))
    if not chunks or chunks[0][:2] != (b"IHDR", 13):
        raise ValueError("there is no header")
    width, height, depth, colour = struct.unpack_from(">IIBB", data, chunks[0][2])
    ancillary = _ancillary(data, chunks)
    bits = 16 if depth == 16 else 8
    pixels = partial(_pixels, data, chunks, colour if depth == 16 else None, ancillary.icc)
    return Encoded(width, height, bits, "u", pixels, _images(chunks), ancillary)


def with_chunks(data: bytes, chunks: list[tuple[bytes, bytes]]) -> bytes:
    """Insert ancillary chunks after the header of a PNG file."""
    packed = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    return data[:33] + b"".join(packed) + data[33:]


_Chunk = tuple[bytes, int, int]  # kind, length, start of the body


def _chunks(data: Data) -> Iterator[_Chunk]:
    """All chunks up to the end of the image; the last may be cut short."""
    at, kind = len(SIGNATURE), b""
    while at + 8 <= len(data) and kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, at)
        yield kind, length, at + 8
        at += 12 + length


def _pixels(data: Data, chunks: list[_Chunk], deep: int | None, profile: bytes) -> Pixels:
    if deep is None or deep == 0:
        return flattened(PngImagePlugin.PngImageFile(BytesIO(_image_only(data, chunks))), profile)
    import imagecodecs

    array = imagecodecs.png_decode(_image_only(data, chunks))
    return array[..., 0] if deep in _GREY else icc.array_to_srgb(array[..., :3], profile, 65535)


def _image_only(data: Data, chunks: list[_Chunk]) -> bytes:
    """The file without ancillary chunks: their names begin with a lower-case letter."""
    kept = [(length, at) for kind, length, at in chunks if not kind[0] & 0x20]
    if isinstance(data, bytes) and len(kept) == len(chunks):
        return data
    view = memoryview(data)
    return b"".join([SIGNATURE, *(view[at - 8 : at + length + 4] for length, at in kept)])


def _images(chunks: list[_Chunk]) -> int:
    """Images of an animation, which has a control chunk for each; those with data count."""
    kinds = [kind for kind, _, _ in chunks]
    return max(1, kinds.count(b"fcTL")) if b"fdAT" in kinds else 1


def _ancillary(data: Data, chunks: list[_Chunk]) -> Ancillary:
    found: dict[bytes, bytes] = {}
    for kind, length, at in chunks:
        if kind in (b"eXIf", b"pHYs", b"iCCP"):
            found.setdefault(kind, bytes(data[at : at + length]))
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            key, _, value = bytes(data[at : at + length]).partition(b"\0")
            if key in (b"XML:com.adobe.xmp", b"Raw profile type exif") and key not in found:
                found[key] = _text(kind, value)
    _, _, profile = found.get(b"iCCP", b"").partition(b"\0")
    exif = found.get(b"eXIf") or _raw_profile(found.get(b"Raw profile type exif", b""))
    xmp = found.get(b"XML:com.adobe.xmp", b"")
    return Ancillary(read_exif(exif), xmp, _inflated(profile[1:]), _dpi(found.get(b"pHYs", b"")))


def _text(kind: bytes, value: bytes) -> bytes:
    """The text after the keyword of a chunk."""
    if kind == b"tEXt":
        return value
    if kind == b"zTXt":
        return _inflated(value[1:])
    parts = value[2:].split(b"\0", 2)  # language, translated keyword, text
    return b"" if len(parts) < 3 else _inflated(parts[2]) if value[0] else parts[2]


def _raw_profile(text: bytes) -> bytes:
    """The bytes of a profile that ImageMagick wrote as text: name, length, hexadecimal digits."""
    words = text.split()
    try:
        return bytes.fromhex(b"".join(words[2:]).decode("ascii"))
    except ValueError:
        return b""


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, _LONGEST) if data else b""
    except zlib.error:
        return b""


def _dpi(body: bytes) -> tuple[float, float] | None:
    if len(body) != 9 or body[8] != 1:  # 1: pixels per metre
        return None
    x, y, _ = struct.unpack(">IIB", body)
    return usable_dpi(round(x * 0.0254, 3), round(y * 0.0254, 3))
