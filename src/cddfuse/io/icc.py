"""Colour profiles: colours of images that carry another profile than sRGB become sRGB.

Profiles of grey images are left alone: networks see levels, and grey profiles differ from the
curve of sRGB by little.
"""

from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

_NOTICEABLE = 2  # levels; variants of the sRGB profile differ by less


def picture_to_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    """Convert a picture of mode RGB or CMYK; returned as it is where the profile is not for it."""
    conversion = _conversion(profile, picture.mode) if profile else None
    converted = conversion and ImageCms.applyTransform(picture, conversion)
    return converted or picture


def array_to_srgb(array: NDArray[Any], profile: bytes, white: float) -> NDArray[Any]:
    """Convert colours (H, W, 3) of more than 8 bits to uint16 colours of the same white."""
    if not profile or _conversion(profile, "RGB") is None:
        return array
    import imagecodecs

    levels = (array * (65535 / white)).round().astype(np.uint16)
    converted = imagecodecs.cms_transform(
        levels, profile, _srgb().tobytes(), colorspace="rgb", outcolorspace="rgb"
    )
    return (converted * (white / 65535)).round().astype(array.dtype)


@lru_cache(maxsize=16)
def _conversion(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """None if the profile is sRGB, is not for this mode, or is malformed."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        conversion = ImageCms.buildTransform(source, _srgb(), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return None
    if mode == "RGB":
        grid = np.stack(np.meshgrid(*[np.linspace(0, 255, 9)] * 3), -1).astype(np.uint8)
        colours = grid.reshape(27, 27, 3)
        shown = np.asarray(ImageCms.applyTransform(Image.fromarray(colours), conversion))
        if np.abs(shown.astype(int) - colours).max() <= _NOTICEABLE:
            return None
    return conversion


@lru_cache(maxsize=1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
