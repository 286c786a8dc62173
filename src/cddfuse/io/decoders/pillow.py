"""Pixels through Pillow: formats of 8 bits, and pictures that Pillow has opened already."""

from io import BytesIO

import numpy as np
from PIL import AvifImagePlugin, BmpImagePlugin, GifImagePlugin, Image, WebPImagePlugin

from cddfuse.io import icc
from cddfuse.io.decoders.base import Encoded, Pixels, UnreadableError
from cddfuse.io.directories import Data
from cddfuse.io.metadata import Ancillary, read_exif


def bmp(data: Data) -> Encoded:
    """A BMP file."""
    return _encoded(BmpImagePlugin.BmpImageFile(BytesIO(data)))


def webp(data: Data) -> Encoded:
    """A WebP file."""
    picture = WebPImagePlugin.WebPImageFile(BytesIO(data))
    return _encoded(picture, picture.n_frames)


def avif(data: Data) -> Encoded:
    """An AVIF file; 10 and 12 bits are rounded to 8."""
    try:
        picture = AvifImagePlugin.AvifImageFile(BytesIO(data))
    except Exception:  # possibly of a malformed EXIF block, which another item type hides
        picture = AvifImagePlugin.AvifImageFile(BytesIO(bytes(data).replace(b"Exif", b"free", 1)))
    return _encoded(picture, picture.n_frames)


def gif(data: Data) -> Encoded:
    """A GIF file."""
    return _encoded(GifImagePlugin.GifImageFile(BytesIO(data)), _gif_images(data))


def _encoded(picture: Image.Image, images: int = 1) -> Encoded:
    ancillary = ancillary_of(picture)
    return Encoded(
        *picture.size, 8, "u", lambda: flattened(picture, ancillary.icc), images, ancillary
    )


def ancillary_of(picture: Image.Image) -> Ancillary:
    """What Pillow found beside the pixels."""
    exif, xmp, profile = (picture.info.get(key) for key in ("exif", "xmp", "icc_profile"))
    return Ancillary(
        read_exif(exif) if isinstance(exif, bytes) else read_exif(b""),
        xmp if isinstance(xmp, bytes) else b"",
        profile if isinstance(profile, bytes) else b"",
    )


def flattened(picture: Image.Image, profile: bytes = b"") -> Pixels:
    """Pixels without alpha, their colours in sRGB; a palette counts as colour.

    Args:
        picture: of any mode.
        profile: the colour profile of the file, if it has one.
    """
    picture.load()
    mode = picture.mode
    if mode in ("1", "L", "LA", "La"):
        return np.array(picture.convert("LA" if mode == "La" else "L").convert("L"))
    if mode.startswith("I;16"):
        return np.array(picture).astype(np.uint16)
    if mode in ("F", "I"):
        return np.array(picture)
    if mode in ("LAB", "HSV"):
        raise UnreadableError(f"holds {mode} pixels: save it as RGB or grey.")
    if mode == "CMYK":
        return np.array(icc.picture_to_srgb(picture, profile).convert("RGB"))
    # Going through RGBA is for the warning that Pillow gives for palettes with transparency.
    colours = (picture.convert("RGBA") if _has_alpha(picture) else picture).convert("RGB")
    return np.array(icc.picture_to_srgb(colours, profile))


def _has_alpha(picture: Image.Image) -> bool:
    return picture.mode in ("PA", "RGBa") or (
        picture.mode == "P" and "transparency" in picture.info
    )


def _gif_images(data: Data) -> int:
    """Count the images of a GIF file as far as it is well-formed."""
    at = 13 + _table(data[10])
    count = 0
    while at + 10 < len(data):
        if data[at] == 0x2C:
            count += 1
            at += 11 + _table(data[at + 9])
        elif data[at] == 0x21:
            at += 2
        else:
            break
        while at < len(data) and data[at]:  # sub-blocks, each with its length in front
            at += 1 + data[at]
        at += 1
    return count


def _table(flags: int) -> int:
    """Bytes of the colour table that the flags announce."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0
