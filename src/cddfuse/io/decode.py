"""Decode an image file to an array of its own depth, or say in one sentence why it cannot be done.

Pillow decodes; where it has no mode for a file (16-bit colour, which it would cut to 8 bits without
a word) OpenCV does, after Pillow has found the file whole.
"""

import os
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from cddfuse.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".pgm", ".ppm")
"""What the names of readable images end with, in lower case. Only folders go by it, not files."""

Pixels = NDArray[Any]
"""(H, W) or (H, W, C), C is 1, 3 or 4 with alpha last."""

_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "PPM")
_MOST_PIXELS = 10**9
_BITS, _PHOTOMETRIC, _PLANES = 258, 262, 284  # entries of TIFF
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
)
_LOCK = threading.Lock()


def decode(path: Path) -> Pixels:
    """Pixels of a file, upright and without alpha: uint8, uint16 or float32."""
    with _opened(path) as picture:
        white = _white_of_deep_colour(picture)
        if white is None:
            return pixels(picture, str(path))
        grey = _layout(picture)[0].startswith("LA")
        with _damage(str(path)):
            picture.load()
        array = _decode_deep_colour(path, picture.mode)
        array = array if white == 65535 else (array / white).astype(np.float32)
        return _upright(array[..., 0] if grey else array, picture)


def bit_depth(path: Path) -> Literal[8, 16]:
    """Bits per channel that it takes to keep what the file holds; floats count as 16."""
    with _opened(path) as picture:
        deep = picture.mode[0] in "IF" or _white_of_deep_colour(picture)
        return 16 if deep else 8


def pixels(picture: Image.Image, name: str) -> Pixels:
    """Pixels of a Pillow image, upright and without alpha; a palette counts as colour.

    Args:
        name: what errors call it.
    """
    inverted = _is_white_zero(picture)
    with _damage(name):
        picture.load()
        array = _flattened(picture, name)
    return _upright(np.iinfo(array.dtype).max - array if inverted else array, picture)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Pillow's own limit and warnings are switched off here, and only as long as it works.

    Both are global to the process, hence the lock: threads would restore each other's state.
    """
    with _file(path) as file, _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, _MOST_PIXELS
        try:
            picture = _header(path, file)
            _require_one_image(path, picture)
            _require_known_layout(path, picture)
            yield picture
        finally:
            Image.MAX_IMAGE_PIXELS = limit


@contextmanager
def _file(path: Path) -> Iterator[BinaryIO]:
    """An open file, for Pillow scrambles turned TIFFs if it gets a path and maps that to memory."""
    if os.path.isdir(path):
        raise InputError(f"{path} is a folder, not a file: name an image in it.")
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist: check the name.") from error
    except OSError as error:
        text = f"cannot open {path} ({error.strerror}): check the name and its permissions."
        raise InputError(text) from error
    with file:
        if not file.read(1):
            raise InputError(f"{path} is empty: make or copy it again.")
        file.seek(0)
        yield file


def _header(path: Path, file: BinaryIO) -> Image.Image:
    try:
        with _damage(str(path)):
            return Image.open(file, formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise _too_large(path) from error


def _require_one_image(path: Path, picture: Image.Image) -> None:
    if picture.width * picture.height > _MOST_PIXELS:
        raise _too_large(path)
    with _damage(str(path)):
        count = getattr(picture, "n_frames", 1)
    # Phones hide previews behind the photograph, in the format MPO; those nobody means.
    if count > 1 and picture.format != "MPO":
        raise InputError(f"{path} holds {count} images: save the one you mean to its own file.")


def _require_known_layout(path: Path, picture: Image.Image) -> None:
    if _layout(picture)[0] == "I;12":
        raise InputError(f"{path} holds 12-bit pixels: save it with 8 or 16 bits.")
    # Pillow and OpenCV both take such planes for interleaved channels, and give noise.
    tags = getattr(picture, "tag_v2", {})
    if tags.get(_PLANES) == 2 and max(tags.get(_BITS, (8,))) > 8:
        raise InputError(f"{path} holds 16-bit planes one by one: save its channels interleaved.")


def _too_large(path: Path) -> InputError:
    return InputError(f"{path} has more than {_MOST_PIXELS:,} pixels: cut it into smaller images.")


@contextmanager
def _damage(name: str) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except UnidentifiedImageError as error:
        known = ", ".join(suffix[1:] for suffix in SUFFIXES)
        raise InputError(f"{name} is not an image that can be read: use one of {known}.") from error
    except _DAMAGE as error:
        text = f"{name} is damaged or cut short ({error}): make or copy it again."
        raise InputError(text) from error


def _layout(picture: Image.Image) -> tuple[str, Any]:
    """Pillow's word for how channels lie in the file, until loaded, and the argument after it."""
    tiles = getattr(picture, "tile", [])
    arguments = tiles[0][3] if tiles else ""
    first, second, *_ = (*arguments, "", "") if isinstance(arguments, tuple) else (arguments, "")
    return str(first), second


def _white_of_deep_colour(picture: Image.Image) -> int | None:
    """The white level of a file whose 16-bit channels Pillow would cut to 8 bits."""
    layout, argument = _layout(picture)
    if picture.format == "PPM":
        return argument if picture.mode == "RGB" and argument and argument > 255 else None
    deep = picture.format in ("PNG", "TIFF") and ";16" in layout
    return 65535 if deep and not picture.mode.startswith("I") else None


def _decode_deep_colour(path: Path, mode: str) -> Pixels:
    array = None
    if mode.startswith("RGB"):
        array = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None or array.ndim != 3 or array.dtype != np.uint16:
        raise InputError(f"{path} holds 16-bit {mode} pixels: save it as 16-bit RGB or grey.")
    return array[..., 2::-1]


def _is_white_zero(picture: Image.Image) -> bool:
    """Whether a 16-bit TIFF counts from white to black, which Pillow heeds for 8 bits only."""
    tags = getattr(picture, "tag_v2", {})
    return picture.mode.startswith("I;16") and tags.get(_PHOTOMETRIC) == 0


def _flattened(picture: Image.Image, name: str) -> Pixels:
    """As an array without alpha."""
    mode = picture.mode
    if mode in ("1", "L", "LA", "La"):
        return np.array(picture.convert("LA" if mode == "La" else "L").convert("L"))
    if mode.startswith("I;16"):
        return np.array(picture).astype(np.uint16)
    if mode == "I" and picture.format == "PPM":
        return np.array(picture).astype(np.uint16)
    if mode == "F":
        return np.array(picture)
    if mode in ("I", "LAB", "HSV"):
        raise InputError(
            f"{name} holds pixels of mode {mode}: save it as 8- or 16-bit grey or RGB."
        )
    # Going through RGBA is for the warning that Pillow gives for palettes with transparency.
    return np.array((picture.convert("RGBA") if _has_alpha(picture) else picture).convert("RGB"))


def _has_alpha(picture: Image.Image) -> bool:
    return picture.mode in ("PA", "RGBa") or (
        picture.mode == "P" and "transparency" in picture.info
    )


def _upright(array: Pixels, picture: Image.Image) -> Pixels:
    """Apply the orientation that the EXIF block asks for.

    Ask after loading: of a TIFF both decoders turn the pixels themselves, and Pillow then drops
    the entry; of other formats neither does.
    """
    turn = picture.getexif().get(ExifTags.Base.Orientation, 1)
    if turn in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if turn in (3, 4, 7, 8):
        array = array[::-1]
    if turn in (2, 3, 6, 7):
        array = array[:, ::-1]
    return array
