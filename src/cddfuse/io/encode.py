"""Encode whole levels as the bytes of an image file, with the metadata that the format holds."""

import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cddfuse.errors import InputError
from cddfuse.io.decoders.png import with_chunks
from cddfuse.io.decoders.tiff import with_fields
from cddfuse.io.metadata import Metadata, exif_block, tiff_fields

_FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".webp": "WEBP",
}
_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True},
}


def output_format(path: Path, bits: int = 8) -> str:
    """Pillow's name of the format that the suffix of `path` stands for, if it holds `bits`."""
    form = _FORMATS.get(path.suffix.lower())
    if form is None:
        known = ", ".join(_FORMATS)
        raise InputError(f"cannot write {path}: end its name with one of {known}.")
    if bits not in (8, 16):
        raise InputError(f"cannot write {path} with {bits} bits: use 8 or 16.", "bits")
    if bits == 16 and form not in ("PNG", "TIFF"):
        text = f"cannot write {path} with 16 bits: use .png or .tif, {form} holds 8 only."
        raise InputError(text, "bits")
    return form


def encoded(levels: NDArray[Any], form: str, path: Path, metadata: Metadata) -> bytes:
    """The bytes of a file.

    Args:
        levels: (H, W) or (H, W, 3), uint8 or uint16.
        form: as `output_format` names it.
        path: what errors call it.
        metadata: written as far as the format holds it.
    """
    try:
        if levels.dtype == np.uint16 and levels.ndim == 3:
            data = _deep_colour(levels, form)
        else:
            data = _by_pillow(levels, form, metadata)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"cannot write {path} as {form} ({error}): use .png or .tif.") from error
    if form == "PNG":
        chunks = _chunks(metadata)
        return with_chunks(data, chunks) if chunks else data
    if form == "TIFF":
        fields = tiff_fields(metadata)
        return with_fields(data, fields) if fields else data
    return data


def _by_pillow(levels: NDArray[Any], form: str, metadata: Metadata) -> bytes:
    options = dict(_OPTIONS.get(form, {}))
    block = exif_block(metadata.exif)
    # An EXIF segment of JPEG is limited to 64 KB.
    if form in ("JPEG", "WEBP") and 0 < len(block) < 65000:
        options["exif"] = b"Exif\0\0" + block
    if form in ("JPEG", "BMP") and metadata.dpi:
        options["dpi"] = tuple(round(value) for value in metadata.dpi)
    stream = BytesIO()
    Image.fromarray(levels).save(stream, form, **options)
    return stream.getvalue()


def _deep_colour(levels: NDArray[Any], form: str) -> bytes:
    """Colour of 16 bits, for which Pillow has no mode."""
    levels = np.ascontiguousarray(levels)
    if form == "PNG":
        import imagecodecs

        return bytes(imagecodecs.png_encode(levels))
    import tifffile

    stream = BytesIO()
    tifffile.imwrite(
        *(stream, levels),
        photometric="rgb",
        compression="lzw",
        predictor=True,
        metadata=None,
        software=False,
    )
    return stream.getvalue()


def _chunks(metadata: Metadata) -> list[tuple[bytes, bytes]]:
    """Chunks of PNG."""
    block = exif_block(metadata.exif)
    chunks = [(b"eXIf", block)] if block else []
    if metadata.dpi:
        x, y = (round(value / 0.0254) for value in metadata.dpi)
        chunks.append((b"pHYs", struct.pack(">IIB", x, y, 1)))
    return chunks
