"""Radiometric files as images: counts, or degrees Celsius where the file says how.

A FLIR file often holds a photo too, which makes a pair of it.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cddfuse.io.decoders.base import Encoded, Pixels
from cddfuse.io.decoders.jpeg import jpeg, segments
from cddfuse.io.decoders.png import SIGNATURE, png
from cddfuse.io.directories import Data
from cddfuse.io.metadata import NOTHING, Ancillary
from cddfuse.io.thermal import dji, flir
from cddfuse.io.thermal.flir import Overlay, Recording
from cddfuse.io.thermal.planck import Calibration

_APP1, _APP3, _APP4, _MAKE = 0xE1, 0xE3, 0xE4, 271


class Photo(NamedTuple):
    """The visible photo in a radiometric file."""

    image: Encoded
    overlay: Overlay


class Box(NamedTuple):
    """A part of an image."""

    rows: slice
    columns: slice


def radiometric_jpeg(data: Data) -> Encoded:
    """A JPEG: what its sensor counted if it is radiometric, else the picture."""
    shown = jpeg(data)
    found = _recording(data)
    if found and (raw := found.raw):
        return _encoded(found, raw, shown.ancillary)
    make = shown.ancillary.exif.main.get(_MAKE)
    counts = dji.counts_of(
        _bodies(data, (_APP3, _APP4)), shown.width, shown.height, make.data if make else b""
    )
    if counts is None:
        return shown
    return Encoded(*_size(counts), 16, "u", lambda: counts, 1, shown.ancillary)


def is_radiometric(data: Data) -> bool:
    """Whether a file holds what a sensor measured."""
    if bytes(data[:2]) != b"\xff\xd8":
        return bytes(data[:4]) in flir.MAGIC
    return radiometric_jpeg(data).deep


def fff(data: Data) -> Encoded:
    """A recording of FLIR."""
    found = flir.recording(bytes(data))
    if (raw := found.raw) is None:
        raise ValueError("it holds no thermal image")
    return _encoded(found, raw, NOTHING)


def photo(data: Data) -> Photo | None:
    """The visible photo in a radiometric file of FLIR; None if there is none."""
    found = _recording(data)
    if found is None or found.raw is None or (body := found.photo) is None:
        return None
    if not body.startswith(SIGNATURE):
        return Photo(jpeg(body), found.overlay)
    image = png(body)
    pixels = partial(_from_ycbcr, image.pixels)
    return Photo(Encoded(image.width, image.height, 8, "u", pixels), found.overlay)


def common_view(photo: Photo, measured: Encoded) -> tuple[Box, Box]:
    """The parts of the photo and of the thermal image that show the same.

    The thermal camera sees a part of the photo as wide as the photo over the scale, around the
    centre plus the offsets, which parallax makes right for one distance only. What would lie
    outside of the photo is left out of both.
    """
    whole = photo.image.width, photo.image.height
    width = whole[0] / photo.overlay.scale
    lengths = width, width * measured.height / measured.width
    spans = [
        _spans(*numbers)
        for numbers in zip(
            whole, (measured.width, measured.height), lengths, photo.overlay[1:], strict=True
        )
    ]
    (x, seen_x), (y, seen_y) = spans
    return Box(y, x), Box(seen_y, seen_x)


def _spans(whole: int, seen: int, length: float, offset: int) -> tuple[slice, slice]:
    """Along one axis: pixels of the photo, and the pixels of the thermal image that cover them."""
    start = whole / 2 + offset - length / 2
    first, last = max(0, round(start)), min(whole, round(start + length))
    scale = seen / length
    begin = max(0, round((first - start) * scale))
    end = min(seen, round((last - start) * scale))
    if last <= first or end <= begin:
        raise ValueError("its photo and its thermal image show different parts of the scene")
    return slice(first, last), slice(begin, end)


def _recording(data: Data) -> Recording | None:
    if bytes(data[:4]) in flir.MAGIC:
        return flir.recording(bytes(data))
    container = flir.joined(body for _, body in _bodies(data, (_APP1,)))
    return None if container is None else flir.recording(container)


def _bodies(data: Data, markers: tuple[int, ...]) -> list[tuple[int, bytes]]:
    return [(x, bytes(data[start:end])) for x, start, end in segments(data) if x in markers]


def _encoded(found: Recording, raw: flir.Raw, ancillary: Ancillary) -> Encoded:
    size, calibration = (raw.width, raw.height), found.calibration
    if calibration is None:
        return Encoded(*size, 16, "u", partial(flir.counts, raw), 1, ancillary)
    pixels = partial(_celsius, raw, calibration)
    return Encoded(*size, 32, "f", pixels, 1, ancillary, unit="C")


def _celsius(raw: flir.Raw, calibration: Calibration) -> Pixels:
    return calibration.celsius(flir.counts(raw))


def _size(array: NDArray[np.uint16]) -> tuple[int, int]:
    return array.shape[1], array.shape[0]


def _from_ycbcr(decode: Callable[[], Pixels]) -> Pixels:
    """RGB of a PNG that holds Y, Cb and Cr."""
    planes = decode()
    if planes.ndim == 2 or planes.dtype != np.uint8:
        return planes
    from PIL import Image

    return np.array(Image.fromarray(planes, "YCbCr").convert("RGB"))
