"""Split an image into luma and chroma, and join them again.

Full-range BT.601, the luma of this field (0.299, 0.587, 0.114): networks fuse the luma, and the
result takes the chroma of the colour source. It does so pixel by pixel, with the saturation that
fits, so that where a thermal target changes the brightness, the colour neither bleeds nor turns.

`in_lab` does the same in CIELAB (IEC 61966-2-1 and CIE 15, white D65), where hue and chroma are
those that people see: what becomes brighter keeps its chroma instead of its difference to grey.
"""

from typing import Literal

import torch
from torch import Tensor

Colour = Literal["ycbcr", "lab", "per-channel", "grey"]
"""`ycbcr` takes the chroma of the colour source in YCbCr, `lab` in CIELAB; `per-channel` fuses red,
green and blue one by one, and `grey` leaves the colour out."""

_WEIGHTS = (0.299, 0.587, 0.114)
_TINT = 4 / 255  # largest difference of channels that compression leaves in a grey JPEG


def luma(image: Tensor) -> Tensor:
    """Luma (..., 1, H, W) of an image (..., C, H, W), C being 1 or 3."""
    if image.shape[-3] == 1:
        return image
    red, green, blue = image.split(1, -3)
    # No tensor of weights, which would have to be copied to the device.
    return _WEIGHTS[0] * red + _WEIGHTS[1] * green + _WEIGHTS[2] * blue


def present(image: Tensor) -> bool:
    """Whether an image (..., C, H, W) in [0, 1] has more colour than a grey JPEG may show."""
    return image.shape[-3] > 1 and bool((image.amax(-3) - image.amin(-3)).max() > _TINT)


def split(image: Tensor) -> tuple[Tensor, Tensor | None]:
    """Luma (..., 1, H, W), and the difference of each channel (..., 3, H, W) or None if grey."""
    grey = luma(image)
    return grey, None if image.shape[-3] == 1 else image - grey


def join(grey: Tensor, chroma: Tensor | None) -> Tensor:
    """Inverse of `split`, with a new luma in [0, 1].

    A colour outside [0, 1] is desaturated until it fits, which keeps luma and hue; clipping the
    channels one by one would change both.
    """
    if chroma is None:
        return grey
    # Each channel may go up to white or down to black; those that go furthest decide.
    tiny = torch.finfo(chroma.dtype).tiny
    most, least = chroma.amax(-3, keepdim=True), chroma.amin(-3, keepdim=True)
    up = ((1 - grey) / most.clamp(min=tiny)).masked_fill_(most <= 0, 1)
    down = (grey / (-least).clamp_(min=tiny)).masked_fill_(least > 0, 1)
    saturation = torch.minimum(up, down).clamp_(max=1)
    return (saturation * chroma).add_(grey).clamp_(0, 1)


# Linear sRGB to XYZ over the white D65, and what CIELAB takes of the roots of those.
_XYZ = torch.tensor(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]],
    dtype=torch.float64,
)
_XYZ = _XYZ / _XYZ.sum(1, keepdim=True)
_OPPONENT = torch.tensor([[0, 116, 0], [500, -500, 0], [0, 200, -200]], dtype=torch.float64)
_EPSILON, _SLOPE = (6 / 29) ** 3, (29 / 6) ** 2 / 3
_HALVINGS = 8  # of the interval in which the saturation that fits is searched


def in_lab(grey: Tensor, source: Tensor) -> Tensor:
    """A new brightness (..., 1, H, W) in [0, 1] with the colour of a source (..., 3, H, W).

    The result has the lightness of the grey, and the hue and chroma of the source. Where sRGB does
    not hold that colour, it is desaturated until it fits.
    """
    rows = source.movedim(-3, 0)
    colours = rows.flatten(1)
    lightness = _to_lab(grey.movedim(-3, 0).expand_as(rows).flatten(1))[:1]
    chroma = _to_lab(colours)[1:]
    joined = _from_lab(lightness, chroma)
    outside = ~_fits(joined)
    if outside.any():
        lightness, chroma = lightness[:, outside], chroma[:, outside]
        joined[:, outside] = _from_lab(lightness, _saturation(lightness, chroma) * chroma)
    return joined.clamp(0, 1).reshape(rows.shape).movedim(0, -3).contiguous()


def _saturation(lightness: Tensor, chroma: Tensor) -> Tensor:
    """The largest share of the chroma, nearly, with which colours fit into sRGB."""
    low, high = torch.zeros_like(lightness), torch.ones_like(lightness)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        inside = _fits(_from_lab(lightness, middle * chroma))
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    return low


def _fits(image: Tensor) -> Tensor:
    return ((image >= -1e-6) & (image <= 1 + 1e-6)).all(0)


def _to_lab(image: Tensor) -> Tensor:
    """L, a and b (3, N) of colours (3, N); L is 16 too high, which cancels."""
    linear = torch.where(
        image > 0.04045, ((image.clamp(min=0) + 0.055) / 1.055) ** 2.4, image / 12.92
    )
    ratio = _XYZ.to(image) @ linear
    root = torch.where(ratio > _EPSILON, ratio.clamp(min=0) ** (1 / 3), _SLOPE * ratio + 4 / 29)
    return _OPPONENT.to(image) @ root


def _from_lab(lightness: Tensor, chroma: Tensor) -> Tensor:
    """Inverse of `_to_lab`; colours outside of sRGB leave [0, 1]."""
    root = torch.linalg.inv(_OPPONENT).to(chroma) @ torch.cat([lightness, chroma])
    ratio = torch.where(root > 6 / 29, root**3, (root - 4 / 29) / _SLOPE)
    linear = torch.linalg.inv(_XYZ).to(chroma) @ ratio
    bright = 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(linear > 0.0031308, bright, 12.92 * linear)
