"""Bytes of image files that no library writes: malformed, rare, or of a known layout."""

import struct
import zlib
from io import BytesIO
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

Array = NDArray[Any]
Order = Literal["<", ">"]


def noise(*shape: int, bits: int = 8) -> Array:
    generator = np.random.default_rng(sum(shape))
    return generator.integers(0, 2**bits, shape, np.uint8 if bits == 8 else np.uint16)


def tensor(array: Array) -> Tensor:
    """What an array of levels should be read as."""
    white = {"uint8": 255, "uint16": 65535}[array.dtype.name]
    image = torch.from_numpy(array.astype(np.float32)) / white
    return image[None] if image.ndim == 2 else image.permute(2, 0, 1)


def png(array: Array, colour_type: int, extra: bytes = b"", tail: bytes = b"") -> bytes:
    """A PNG of 8 or 16 bits; colour types are 0 grey, 2 RGB, 4 grey with alpha, 6 RGBA.

    Args:
        extra: chunks before the pixels.
        tail: chunks after them.
    """
    height, width = array.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, array.itemsize * 8, colour_type, 0, 0, 0)
    big_endian = array.astype(array.dtype.newbyteorder(">"))
    lines = b"".join(b"\0" + line.tobytes() for line in big_endian)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(lines)) + tail
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def segment(marker: int, body: bytes) -> bytes:
    """A segment of JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def encoded(image: Array | Image.Image, form: str, **options: Any) -> bytes:
    """As Pillow writes it."""
    stream = BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(stream, form, **options)
    return stream.getvalue()


def tiff(array: Array, order: Order = "<", **changed: int) -> bytes:
    """An uncompressed TIFF of one strip, with any tag changed.

    Tags are 258 bits, 262 photometric, 274 orientation, 338 extra samples, 339 sample format,
    given as `tag262=0`.
    """
    height, width, channels = (*array.shape, 1)[:3]
    pixels = array.astype(array.dtype.newbyteorder(order)).tobytes()
    tags = {256: width, 257: height, 258: array.itemsize * 8, 259: 1}
    tags |= {262: 2 if channels in (3, 4) else 1, 273: 0, 274: 1, 277: channels, 278: height}
    tags |= {279: len(pixels), 339: {"u": 1, "i": 2, "f": 3}[array.dtype.kind]}
    tags |= {int(name[3:]): value for name, value in changed.items()}
    return pages([({tag: [value] for tag, value in tags.items()}, pixels)], order)


def pages(content: list[tuple[dict[int, list[int]], bytes]], order: str = "<") -> bytes:
    """A TIFF of several directories, each with its tags and the bytes of its one strip.

    Bits and sample formats are repeated for every channel.
    """
    data = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 0)
    link = 4
    for tags, pixels in content:
        data += pixels + bytes(len(pixels) % 2)
        full = {**tags, 273: [len(data) - len(pixels) - len(pixels) % 2]}
        for tag in (258, 339):
            if tag in full:
                full[tag] = full[tag] * full.get(277, [1])[0]
        data = data[:link] + struct.pack(order + "I", len(data)) + data[link + 4 :]
        tail_at = len(data) + 2 + 12 * len(full) + 4
        entries, tail = b"", b""
        for tag, values in sorted(full.items()):
            body = struct.pack(f"{order}{len(values)}I", *values)
            place = struct.pack(order + "I", tail_at + len(tail))
            entries += struct.pack(order + "HHI", tag, 4, len(values))
            entries += body if len(body) == 4 else place
            tail += b"" if len(body) == 4 else body
        data += struct.pack(order + "H", len(full)) + entries
        link = len(data)
        data += bytes(4) + tail
    return data


def exif(**changed: Any) -> Image.Exif:
    """An EXIF block with camera, time and place, and any main tag changed."""
    tags = Image.Exif()
    tags[271], tags[306] = "FLIR", "2024:06:01 22:10:00"
    tags.get_ifd(34665).update({36867: "2024:06:01 22:09:59", 37500: b"maker", 40962: 4000})
    tags.get_ifd(34853).update({1: "N", 2: (48.0, 12.0, 30.5), 3: "E", 4: (16.0, 22.0, 0.0)})
    for name, value in changed.items():
        tags[int(name[3:])] = value
    return tags
