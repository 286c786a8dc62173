"""Images: files, arrays and Pillow images to tensors, tensors to files."""

import os
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from cddfuse.errors import InputError
from cddfuse.io import decode
from cddfuse.io.files import replacing
from cddfuse.io.metadata import Metadata
from cddfuse.pair import ImagePair

ImageSource = str | Path | Image.Image | NDArray[Any] | Tensor
"""A file, or pixels: uint8, uint16 or float in [0, 1]; arrays (H, W) or (H, W, C), C being 1, 3 or
4 with alpha last; tensors (H, W) or (C, H, W), C being 1 or 3."""

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
_WHITE = {torch.uint8: 255, torch.uint16: 65535}


def read_image(source: ImageSource) -> Tensor:
    """Read an image as float32 (C, H, W) in [0, 1], C being 1 for grey and 3 for colour.

    EXIF orientation is applied. Alpha is dropped, as the reference reader of the field does: what
    lies under a transparent pixel counts. Palettes are colour, and so are three equal channels.
    """
    name = _called(source)
    if isinstance(source, Tensor):
        return _from_tensor(source, name).detach().float().contiguous()
    if isinstance(source, str | Path):
        array = decode.decode(Path(source))
    elif isinstance(source, Image.Image):
        array = decode.pixels(source, name)
    elif isinstance(source, np.ndarray):
        array = source
    else:
        raise InputError(
            f"{name} is not an image: use a path, a Pillow image, an array or a tensor."
        )
    return _from_array(array, name).float().contiguous()


def read_pair(
    first: ImageSource, second: ImageSource, *, name: str | None = None, resize: bool = False
) -> ImagePair:
    """Read two images of one scene.

    Args:
        name: the stem of the first file if not given.
        resize: bring the second to the size of the first; otherwise sizes that differ are an error.
    """
    one, other = read_image(first), read_image(second)
    if one.shape[-2:] != other.shape[-2:]:
        if not resize:
            sizes = f"{_called(first)} is {_size(one)} and {_called(second)} is {_size(other)}"
            raise InputError(
                f"{sizes}: use images of one size, or resize the second.", setting="resize"
            )
        other = _resized(other, one)
    if name is None:
        name = Path(first).stem if isinstance(first, str | Path) else ""
    return ImagePair(one, other, name)


def load_pair(
    first: Path, second: Path, *, name: str | None = None, resize: bool = False
) -> tuple[ImagePair, Metadata]:
    """Read two files of one scene, and what they say beside their pixels."""
    pair = read_pair(first, second, name=name, resize=resize)
    return pair, Metadata(16 if 16 in (decode.bit_depth(first), decode.bit_depth(second)) else 8)


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
        image: (C, H, W), float in [0, 1], C being 1 or 3.
        bits: per channel; only PNG and TIFF hold 16.
        overwrite: replace an existing file.
    """
    path = Path(path)
    form = output_format(path, bits)
    if os.path.isfile(path) and not overwrite:
        raise InputError(
            f"{path} exists already: choose another name, or overwrite it.", setting="overwrite"
        )
    data = _encoded(levels(_from_tensor(image, f"the image for {path}"), bits), form, path)
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def levels(image: Tensor, bits: Literal[8, 16] = 8) -> NDArray[Any]:
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


def _from_array(array: NDArray[Any], name: str) -> Tensor:
    if array.dtype.kind not in "uf" or array.dtype.itemsize > (2 if array.dtype.kind == "u" else 8):
        raise InputError(
            f"{name} holds {array.dtype} values: use uint8, uint16 or float in [0, 1]."
        )
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise InputError(f"{name} has shape {array.shape}: use (H, W) or (H, W, C), C 1, 3 or 4.")
    native = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    image = torch.from_numpy(native)
    return _from_tensor(image[..., :3].permute(2, 0, 1) if image.ndim == 3 else image, name)


def _from_tensor(image: Tensor, name: str) -> Tensor:
    if not image.is_floating_point() and image.dtype not in _WHITE:
        kind = str(image.dtype).removeprefix("torch.")
        raise InputError(f"{name} holds {kind} values: use uint8, uint16 or float in [0, 1].")
    if image.ndim not in (2, 3) or (image.ndim == 3 and len(image) not in (1, 3)):
        raise InputError(
            f"{name} has shape {tuple(image.shape)}: use (H, W) or (C, H, W), C 1 or 3."
        )
    if image.numel() == 0:
        raise InputError(
            f"{name} has no pixels, its shape is {tuple(image.shape)}: check its source."
        )
    image = image if image.ndim == 3 else image[None]
    if not image.is_floating_point():
        return image.float() / _WHITE[image.dtype]
    return _in_range(image, name)


def _in_range(image: Tensor, name: str) -> Tensor:
    if not image.isfinite().all():
        raise InputError(f"{name} holds NaN or infinite values: replace them first.")
    low, high = (bound.item() for bound in image.detach().aminmax())
    if low < 0 or high > 1:
        raise InputError(
            f"{name} holds values from {low:g} to {high:g}: scale them to [0, 1] first."
        )
    return image


def _size(image: Tensor) -> str:
    return f"{image.shape[-1]}x{image.shape[-2]}"


def _resized(image: Tensor, like: Tensor) -> Tensor:
    size = (like.shape[-2], like.shape[-1])
    return F.interpolate(image[None], size, mode="bicubic", antialias=True)[0].clamp(0, 1)


def output_format(path: Path, bits: int = 8) -> str:
    """Pillow's name of the format that the suffix of `path` stands for, if it holds `bits`."""
    form = _FORMATS.get(path.suffix.lower())
    if form is None:
        known = ", ".join(_FORMATS)
        raise InputError(f"cannot write {path}: end its name with one of {known}.")
    if bits not in (8, 16):
        raise InputError(f"cannot write {path} with {bits} bits: use 8 or 16.")
    if bits == 16 and form not in ("PNG", "TIFF"):
        raise InputError(
            f"cannot write {path} with 16 bits: use .png or .tif, {form} holds 8 only."
        )
    return form


def _encoded(array: NDArray[Any], form: str, path: Path) -> bytes:
    if array.dtype == np.uint16 and array.ndim == 3:
        done, data = cv2.imencode(path.suffix.lower(), np.ascontiguousarray(array[..., ::-1]))
        if done:
            return data.tobytes()
        raise InputError(f"cannot write {path}: OpenCV failed to encode it, use 8 bits.")
    stream = BytesIO()
    try:
        Image.fromarray(array).save(stream, form, **_OPTIONS.get(form, {}))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write {path} as {form} ({error}): use .png or .tif.") from error
    return stream.getvalue()
