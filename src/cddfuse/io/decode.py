"""Decode an image file to an array of its own depth, or say in one sentence why it cannot be done.

A file is opened once, and told by its content, not by its name. Nothing here is shared between
calls, so threads decode side by side.
"""

import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Literal, NamedTuple

from PIL import Image

from cddfuse.errors import InputError
from cddfuse.io import metadata
from cddfuse.io.decoders import jpeg2000, netpbm, pillow, png, tiff
from cddfuse.io.decoders.base import Encoded, Pixels, UnreadableError
from cddfuse.io.directories import Data
from cddfuse.io.metadata import Ancillary, Metadata
from cddfuse.io.thermal import files as thermal
from cddfuse.io.thermal.files import Box

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".avif", ".jp2"),
    *(".j2k", ".jpe", ".jfif", ".pgm", ".ppm", ".pnm", ".pbm", ".pfm", ".apng", ".btf"),
    ".fff",
)
"""What the names of readable images end with, in lower case. Only folders go by it, not files."""

_MOST_PIXELS = 10**9

_FORMATS: tuple[tuple[bytes, Callable[[Data], Encoded]], ...] = (
    (rb"\x89PNG\r\n\x1a\n", png.png),
    (rb"\xff\xd8\xff", thermal.radiometric_jpeg),
    (rb"FFF\0|AFF\0", thermal.fff),
    (rb"II[*+]\0|MM\0[*+]", tiff.tiff),
    (rb"BM", pillow.bmp),
    (rb"RIFF....WEBP", pillow.webp),
    (rb"GIF8[79]a", pillow.gif),
    (rb"P[1-6fF]\s", netpbm.netpbm),
    (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", jpeg2000.jpeg2000),
    (rb"....ftyp(avif|avis)", pillow.avif),
)
_CONVERT = "convert it to PNG or TIFF first"
_OTHERS = (
    (rb"....ftyp(hei|hev|mif1|msf1)", f"is a HEIC photograph: {_CONVERT}"),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", f"is a JPEG XL image: {_CONVERT}"),
    (rb"8BPS", f"is a Photoshop document: {_CONVERT}"),
    (rb"v/1\x01", f"is an OpenEXR image: {_CONVERT}"),
    (rb".{128}DICM", f"is a DICOM image: {_CONVERT}"),
    (rb"%PDF|%!PS", f"is a document: {_CONVERT}"),
    (rb"FGF\0", f"is a FLIR recording: {_CONVERT}"),
    (rb"....ftyp|\x1aE\xdf\xa3|RIFF....AVI ", "is a video: save its frames as images first"),
    (rb"version https://git-lfs", "is a pointer of Git LFS: fetch its content with git lfs pull"),
    (rb"\s*<(!DOCTYPE html|html)", "is a web page, not an image: download the image again"),
)


@dataclass(frozen=True)
class Decoded:
    """The pixels of a file, upright, in sRGB where they have colour."""

    pixels: Pixels
    """Of the type of the file; 16-bit integers hold 10, 12 and 14 bits too."""

    full: tuple[float, float]
    """The values of black and white: all that the file can hold, [0, 1] for floats."""

    deep: bool
    """Whether there are more than 8 bits, signs or fractions."""

    metadata: Metadata

    nodata: float | None = None
    """The value of pixels that were not measured."""

    unit: Literal["", "C"] = ""
    """C if the values are degrees Celsius for certain, as those of radiometric files of FLIR."""


class Readable(NamedTuple):
    """An image that can be read, from a file or from a part of it."""

    read: Callable[[], Decoded]
    deep: Callable[[], bool]
    """Whether it has more than 8 bits, from its header."""


def prepare_process() -> None:
    """Set up this process for image files of any size: call it once, at the start of a program.

    Pillow's warnings and its limit of pixels, and the log of tifffile, belong to the whole process,
    so that the library leaves them alone. Without this, Pillow may warn of large images, and
    some above 179 million pixels are refused; no image is read differently.
    """
    Image.MAX_IMAGE_PIXELS = None
    warnings.filterwarnings("ignore", module=r"PIL\b")
    logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)


def decode(path: Path) -> Decoded:
    """Pixels of a file, upright and without alpha, and what comes with them.

    Of a radiometric file these are what the sensor measured, not the picture drawn of it.
    """
    name = str(path)
    data = _content(path)
    encoded = _encoded(data, name)
    return _decoded(encoded, encoded.ancillary, name)


def decode_content(
    data: Data, name: str, check: Callable[[Encoded], None] = lambda header: None
) -> Decoded:
    """What `decode` gives for a file with this content.

    Args:
        data: all bytes of the file.
        name: what errors call it.
        check: called with the header before any pixels are decoded; it may raise an `InputError`.
    """
    encoded = _encoded(data, name)
    check(encoded)
    return _decoded(encoded, encoded.ancillary, name)


def decode_both(path: Path) -> tuple[Decoded, Decoded]:
    """The visible and the thermal image of a radiometric file of FLIR, both of the same view.

    They differ in size: each has the pixels of its camera.
    """
    return decode_both_content(_content(path), str(path))


def decode_both_content(
    data: Data, name: str, check: Callable[[Encoded], None] = lambda header: None
) -> tuple[Decoded, Decoded]:
    """What `decode_both` gives for a file with this content; arguments as of `decode_content`."""
    measured = _encoded(data, name)
    check(measured)
    with named(name):
        photo = thermal.photo(data)
        if photo is None:
            raise UnreadableError("holds no visible photo: give the visible image too.")
        _require_size(photo.image, name)
    check(photo.image)
    with named(name):
        boxes = thermal.common_view(photo, measured)
    one, other = (
        _decoded(image, measured.ancillary, name, box)
        for image, box in zip((photo.image, measured), boxes, strict=True)
    )
    return one, other


def holds_photo(path: Path) -> bool:
    """Whether a file is radiometric and holds a visible photo too. It may be damaged further on."""
    if os.path.isdir(path):
        return False
    try:
        return thermal.photo(_content(path)) is not None
    except Exception:  # whatever is wrong with it shows when it is read
        return False


def is_thermal(path: Path) -> bool:
    """Whether a file is radiometric; False if it cannot be read."""
    try:
        return thermal.is_radiometric(_content(path))
    except Exception:
        return False


def _content(path: Path) -> bytes:
    with opened(path) as file, named(str(path)):
        return file.read()


def _decoded(encoded: Encoded, beside: Ancillary, name: str, box: Box | None = None) -> Decoded:
    with named(name):
        pixels = encoded.pixels()
        pixels = pixels[box.rows, box.columns] if box else pixels
    turned = upright(pixels, metadata.orientation(beside))
    inherited = metadata.inherited(beside, 16 if encoded.deep else 8)
    facts = encoded.full, encoded.deep, inherited, encoded.nodata, encoded.unit
    return Decoded(turned, *facts)


def decode_picture(picture: Image.Image, name: str) -> Decoded:
    """Pixels of a picture of Pillow.

    Args:
        picture: opened from a file or made in memory.
        name: what errors call it.
    """
    with named(name):
        pixels = pillow.flattened(picture, pillow.ancillary_of(picture).icc)
    # Ask after loading: Pillow turns a TIFF itself, and then drops the entry.
    turned = upright(pixels, _orientation(picture))
    white = 255.0 if pixels.dtype == "uint8" else 65535.0 if pixels.dtype == "uint16" else 1.0
    deep = pixels.dtype != "uint8"
    return Decoded(turned, (0.0, white), deep, Metadata(16 if deep else 8))


def read_header(path: Path) -> Encoded:
    """What the header of a file says, without decoding its pixels."""
    with opened(path) as file:
        try:
            data: Data = mmap(file.fileno(), 0, access=ACCESS_READ)
        except (OSError, ValueError):  # a disk that maps no files
            data = file.read()
        return _encoded(data, str(path))


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of the upright image, from the header."""
    encoded = read_header(path)
    turned = metadata.orientation(encoded.ancillary) > 4
    return (encoded.width, encoded.height) if turned else (encoded.height, encoded.width)


def bit_depth(path: Path) -> Literal[8, 16]:
    """Bits per channel that it takes to keep what the file holds; floats count as 16."""
    return 16 if read_header(path).deep else 8


def upright(pixels: Pixels, turn: int) -> Pixels:
    """Apply an orientation of EXIF."""
    if turn in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if turn in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if turn in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _encoded(data: Data, name: str) -> Encoded:
    start = bytes(data[:256])
    reader = next((read for magic, read in _FORMATS if re.match(magic, start, re.DOTALL)), None)
    if reader is None:
        raise _unknown(start, name)
    with named(name):
        encoded = reader(data)
    _require_size(encoded, name)
    if encoded.images > 1:
        count = encoded.images
        raise InputError(f"{name} holds {count} images: save the one you mean to its own file.")
    return encoded


def _require_size(encoded: Encoded, name: str) -> None:
    if encoded.width <= 0 or encoded.height <= 0:
        raise InputError(f"{name} has no pixels: make or copy it again.")
    if encoded.width * encoded.height > _MOST_PIXELS:
        raise _too_large(name, _MOST_PIXELS)


def _unknown(start: bytes, name: str) -> InputError:
    for magic, sentence in _OTHERS:
        if re.match(magic, start, re.DOTALL | re.IGNORECASE):
            return InputError(f"{name} {sentence}.")
    known = ", ".join(suffix[1:] for suffix in SUFFIXES)
    return InputError(f"{name} is not an image that can be read: use one of {known}.")


def _orientation(picture: Image.Image) -> int:
    try:
        turn = picture.getexif().get(metadata.ORIENTATION, 1)
    except Exception:  # malformed metadata, of which Pillow raises what it likes
        return 1
    return turn if isinstance(turn, int) else 1


def _too_large(name: str, most: int) -> InputError:
    return InputError(f"{name} has more than {most:,} pixels: cut it into smaller images.")


@contextmanager
def named(name: str) -> Iterator[None]:
    """Turn all that decoders raise of a file into one sentence; nobody can list it."""
    try:
        yield
    except UnreadableError as error:
        raise InputError(f"{name} {error}") from error
    except Image.DecompressionBombError as error:
        raise _too_large(name, 2 * (Image.MAX_IMAGE_PIXELS or _MOST_PIXELS)) from error
    except MemoryError as error:
        text = f"{name} does not fit in memory: cut it into smaller images."
        raise InputError(text) from error
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        text = f"{name} is damaged or cut short ({reason}): make or copy it again."
        raise InputError(text) from error


@contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """A file that has content."""
    if os.path.isdir(path):
        raise InputError(f"{path} is a folder, not a file: name an image in it.")
    if os.path.exists(path) and not os.path.isfile(path):  # opening a pipe waits
        raise InputError(
            f"{path} is a pipe or a device, and images are read more than once: save it to a file."
        )
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist: check the name.") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        text = f"cannot open {path} ({reason}): check the name and its permissions."
        raise InputError(text) from error
    with file:
        if not file.peek(1):
            raise InputError(f"{path} is empty: make or copy it again.")
        yield file
