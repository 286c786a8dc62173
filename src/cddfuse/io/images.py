"""Images: files, arrays and Pillow images to tensors, tensors to files."""

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from cddfuse.errors import InputError, exists_already, trouble
from cddfuse.io.decode import Decoded, decode, decode_both, decode_picture, holds_photo
from cddfuse.io.encode import encoded, output_format
from cddfuse.io.files import replacing
from cddfuse.io.metadata import Metadata
from cddfuse.io.ranges import Range, Ranges, Rule
from cddfuse.pair import ImagePair

ImageSource = str | Path | Image.Image | NDArray[Any] | Tensor
"""A file, or pixels: uint8, uint16 or float in [0, 1], and other values where their range is given;
arrays (H, W) or (H, W, C), C being 1, 3 or 4 with alpha last; tensors (H, W) or (C, H, W), C being
1 or 3."""

_WHITE = {torch.uint8: 255, torch.uint16: 65535}
_TYPES = "use uint8, uint16 or float in [0, 1], or give the range of the values"


def read_image(source: ImageSource, *, range: Range | None = None) -> Tensor:
    """Read an image as float32 (C, H, W) in [0, 1], C being 1 for grey and 3 for colour.

    EXIF orientation is applied, and colours with a profile become sRGB. Alpha is dropped, as the
    reference reader of the field does: what lies under a transparent pixel counts. Palettes are
    colour, and so are three equal channels.

    Args:
        source: a file or pixels.
        range: the values that become 0 and 1; what lies outside is clipped. By default all that
            unsigned integers can hold, so thermal counts of 16 bits are nearly one grey: see
            `cddfuse.io.ranges`. Signed integers, and floats that leave [0, 1], need a range.
    """
    name = _called(source)
    with trouble(f"read {name}"):
        if isinstance(source, Tensor):
            return _from_tensor(source, name, range).detach().float().contiguous()
        return _from_decoded(_decoded(source, name), name, range)


def read_pair(
    first: ImageSource,
    second: ImageSource,
    *,
    name: str | None = None,
    resize: bool = False,
    ranges: Ranges | None = None,
) -> ImagePair:
    """Read two images of one scene.

    Args:
        first: may carry colour.
        second: the other.
        name: the stem of the first file if not given.
        resize: bring the second to the size of the first; otherwise sizes that differ are an error.
        ranges: how the values of each side become [0, 1], such as `Ranges.parse(["auto"])`, which
            `cddfuse.io.ranges.resolve` fixes for a folder; by default as in `read_image`.
    """
    rules = ranges or (None, None)
    names = (_called(first), _called(second))
    with trouble(f"read {names[0]} and {names[1]}"):
        one, other = (_ruled(*side) for side in zip((first, second), rules, strict=True))
        other = _matching(one, other, names, resize)
    if name is None:
        name = Path(first).stem if isinstance(first, str | Path) else ""
    return ImagePair(one, other, name)


def load_pair(
    first: Path,
    second: Path,
    *,
    name: str | None = None,
    resize: bool = False,
    ranges: Ranges | None = None,
    celsius: bool = False,
    any_size: bool = False,
) -> tuple[ImagePair, Metadata]:
    """Read two files of one scene, and what a fused image inherits from them.

    Arguments are those of `read_pair`. The metadata is that of the first file, with as many bits
    as the deeper of both needs.

    Args:
        first: if it is the second too and radiometric, the visible photo in it counts.
        celsius: put the temperatures of the second image into the metadata, or those of the first
            if only that has any.
        any_size: let the images keep sizes that differ.
    """
    with trouble(f"read {first} and {second}"):
        if first == second and holds_photo(first):
            images = decode_both(first)
        else:
            images = decode(first), decode(second)
    names = str(first), str(second)
    called = first.stem if name is None else name
    return paired(images, names, called, resize, ranges, celsius, any_size)


def paired(
    images: tuple[Decoded, Decoded],
    names: tuple[str, str],
    name: str,
    resize: bool = False,
    ranges: Ranges | None = None,
    celsius: bool = False,
    any_size: bool = False,
) -> tuple[ImagePair, Metadata]:
    """Two decoded images as a pair, see `load_pair`.

    Args:
        names: what errors call the images. Those of one file, of the same name, are brought to the
            size of the one with more pixels.
        name: of the pair.
    """
    one_file = names[0] == names[1]
    with trouble(f"read {names[0]} and {names[1]}"):
        rules = ranges or (None, None)
        images = (_measured(images[0], rules[0]), _measured(images[1], rules[1]))
        one, other = (
            _by_rule(image, called, rule)
            for image, called, rule in zip(images, names, rules, strict=True)
        )
        if one_file and one.shape[-1] < other.shape[-1]:
            one = _resized(one, other)
        if not any_size:
            other = _matching(one, other, names, resize or one_file)
        degrees = _temperatures(images, names, one) if celsius else None
    bits: Literal[8, 16] = 16 if any(image.deep for image in images) else 8
    return ImagePair(one, other, name), replace(images[0].metadata, bits=bits, celsius=degrees)


def write_image(
    path: str | Path,
    image: Tensor,
    *,
    bits: Literal[8, 16] = 8,
    overwrite: bool = False,
    metadata: Metadata | None = None,
) -> None:
    """Write an image; the suffix decides the format, and the file appears whole or not at all.

    JPEG is written at quality 95 with full colour resolution, WebP without loss (as RGB, for it has
    no grey). Values are rounded once, half to even.

    Args:
        path: of the file.
        image: (C, H, W), float in [0, 1], C being 1 or 3.
        bits: per channel; only PNG and TIFF hold 16.
        overwrite: replace an existing file.
        metadata: written as far as the format holds it: EXIF in all but BMP, dots per inch in all
            but WebP, GeoTIFF tags in TIFF.
    """
    path = Path(path)
    form = output_format(path, bits)
    if os.path.isfile(path) and not overwrite:
        raise exists_already(path)
    levels = quantize(_from_tensor(image, f"the image for {path}", None), bits)
    data = encoded(levels, form, path, metadata or Metadata())
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def quantize(image: Tensor, bits: Literal[8, 16] = 8) -> NDArray[Any]:
    """Whole levels (H, W) or (H, W, 3) of an image (C, H, W) in [0, 1]: uint8 or uint16."""
    whole = (image.detach().cpu().double() * (2**bits - 1)).round()
    array = whole.permute(1, 2, 0).numpy().astype(np.uint8 if bits == 8 else np.uint16)
    return array[..., 0] if len(image) == 1 else array


def _called(source: object) -> str:
    if isinstance(source, str | Path):
        return str(source)
    kinds = {Image.Image: "Pillow image", np.ndarray: "array", Tensor: "tensor"}
    named = [kind for base, kind in kinds.items() if isinstance(source, base)]
    return f"the {(named or [type(source).__name__])[0]}"


def _decoded(source: object, name: str) -> Decoded:
    if isinstance(source, str | Path):
        return decode(Path(source))
    if isinstance(source, Image.Image):
        return decode_picture(source, name)
    if not isinstance(source, np.ndarray):
        raise InputError(
            f"{name} is not an image: use a path, a Pillow image, an array or a tensor."
        )
    if source.ndim not in (2, 3) or (source.ndim == 3 and source.shape[2] not in (1, 3, 4)):
        raise InputError(f"{name} has shape {source.shape}: use (H, W) or (H, W, C), C 1, 3 or 4.")
    if source.dtype.kind not in "uif":
        raise InputError(f"{name} holds {source.dtype} values: {_TYPES}.")
    white = {"uint8": 255.0, "uint16": 65535.0}.get(source.dtype.name, 1.0)
    pixels = source[..., :3] if source.ndim == 3 else source
    return Decoded(pixels, (0.0, white), source.dtype != "uint8", Metadata())


def _ruled(source: ImageSource, rule: Rule | None) -> Tensor:
    """Read one side of a pair."""
    if rule is None:
        return read_image(source)
    if isinstance(source, Tensor):
        array = source.detach().cpu().numpy()
        pixels = array.transpose(1, 2, 0) if array.ndim == 3 else array
        image = _decoded(pixels, _called(source))
        range = rule.of(image, _called(source))
        return rule.gained(read_image(source, range=range), image, range)
    image = rule.measured(_decoded(source, _called(source)))
    return _by_rule(image, _called(source), rule)


def _measured(image: Decoded, rule: Rule | None) -> Decoded:
    return rule.measured(image) if rule else image


def _by_rule(image: Decoded, name: str, rule: Rule | None) -> Tensor:
    if rule is None:
        return _from_decoded(image, name, None)
    range = rule.of(image, name)
    return rule.gained(_from_decoded(image, name, range), image, range)


def _temperatures(
    images: tuple[Decoded, Decoded], names: tuple[str, str], grid: Tensor
) -> NDArray[np.float32]:
    """Degrees Celsius of the thermal image, with the pixels of the pair."""
    known = [x for x in images[::-1] if x.unit == "C"]
    known += [x for x in images[::-1] if x.pixels.dtype.kind == "f" and x.pixels.ndim == 2]
    if not known:
        raise InputError(
            f"neither {names[0]} nor {names[1]} says what it holds in degrees: leave the "
            "temperatures out, or give the kelvin of one count.",
            ("celsius", "kelvin_per_count"),
        )
    degrees = np.ascontiguousarray(known[0].pixels, np.float32)
    if degrees.shape == grid.shape[-2:]:
        return degrees
    size = (grid.shape[-2], grid.shape[-1])
    # Bilinear, which makes no temperature that was not measured.
    tensor = torch.from_numpy(degrees)[None, None]
    return F.interpolate(tensor, size, mode="bilinear", antialias=True)[0, 0].numpy()


def _from_decoded(image: Decoded, name: str, range: Range | None) -> Tensor:
    native = np.ascontiguousarray(image.pixels, image.pixels.dtype.newbyteorder("="))
    if min(native.strides) < 0:  # a single row that was turned counts as contiguous
        native = native.copy()
    if range is not None:
        scaled = _checked(range).scaled(native)
        if image.nodata is not None:
            scaled[np.isnan(native) if math.isnan(image.nodata) else native == image.nodata] = 0
        tensor = _in_range(_nonempty(torch.from_numpy(scaled), name), name)
    elif native.dtype in ("uint8", "uint16"):
        tensor = _nonempty(torch.from_numpy(native), name).float().div_(image.full[1])
    elif native.dtype.kind == "f":
        tensor = _in_range(_nonempty(torch.from_numpy(native), name), name)
    else:
        raise InputError(f"{name} holds {native.dtype} values: {_TYPES}.", "range")
    return (tensor.permute(2, 0, 1) if tensor.ndim == 3 else tensor[None]).float().contiguous()


def _checked(range: Range) -> Range:
    low, high = range
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"the range {low:g} to {high:g} is empty: give the lower first.", "range")
    return Range(low, high)


def _from_tensor(image: Tensor, name: str, range: Range | None) -> Tensor:
    if image.ndim not in (2, 3) or (image.ndim == 3 and len(image) not in (1, 3)):
        raise InputError(
            f"{name} has shape {tuple(image.shape)}: use (H, W) or (C, H, W), C 1 or 3."
        )
    image = _nonempty(image if image.ndim == 3 else image[None], name)
    if range is not None:
        low, high = _checked(range)
        return _in_range(((image.double() - low) / (high - low)).clamp(0, 1), name)
    if image.is_floating_point():
        return _in_range(image, name)
    if image.dtype not in _WHITE:
        kind = str(image.dtype).removeprefix("torch.")
        raise InputError(f"{name} holds {kind} values: {_TYPES}.", "range")
    return image.float() / _WHITE[image.dtype]


def _nonempty(image: Tensor, name: str) -> Tensor:
    if image.numel() == 0:
        raise InputError(
            f"{name} has no pixels, its shape is {tuple(image.shape)}: check its source."
        )
    return image


def _in_range(image: Tensor, name: str) -> Tensor:
    if not image.isfinite().all():
        raise InputError(f"{name} holds NaN or infinite values: replace them first.")
    low, high = (bound.item() for bound in image.detach().aminmax())
    if low < 0 or high > 1:
        raise InputError(
            f"{name} holds values from {low:g} to {high:g}: scale them to [0, 1] first, or give "
            "their range.",
            "range",
        )
    return image


def _size(image: Tensor) -> str:
    return f"{image.shape[-1]}x{image.shape[-2]}"


def _matching(one: Tensor, other: Tensor, names: tuple[str, str], resize: bool) -> Tensor:
    """The other image, at the size of the one."""
    if one.shape[-2:] == other.shape[-2:]:
        return other
    if not resize:
        sizes = f"{names[0]} is {_size(one)} and {names[1]} is {_size(other)}"
        raise InputError(f"{sizes}: use images of one size, or resize the second.", "resize")
    return _resized(other, one)


def _resized(image: Tensor, like: Tensor) -> Tensor:
    size = (like.shape[-2], like.shape[-1])
    return F.interpolate(image[None], size, mode="bicubic", antialias=True)[0].clamp(0, 1)
