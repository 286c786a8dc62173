"""The images that are scored: grey as published tables have it, and what to compare them with."""

import torch
from torch import Tensor

from cddfuse.fuse import full_range

_RED, _GREEN, _BLUE = torch.tensor((0.299, 0.587, 0.114), dtype=torch.float32).double().tolist()

Rows = dict[str, Tensor]
"""Grey images (1, H, W) in [0, 1]: the fused one, the sources, their mean and their maximum."""


def published_grey(image: Tensor) -> Tensor:
    """Whole 8-bit grey (..., 1, H, W) in [0, 1] of an image (..., C, H, W), C being 1 or 3.

    To the last bit what OpenCV's reader and BGR2GRAY give on x86, the recipe of the published
    tables: 16 bits are cut to 8, colours are added by fused multiply-adds in float32 (emulated in
    float64, where their products are exact) and rounded half to even. `colour.luma` does not round.
    """
    # 257 of the 65536 levels lie between two 8-bit ones, so this leaves 8-bit files as they are.
    levels = (image.double() * 65535).round_().div_(256).floor_()
    if image.shape[-3] == 3:
        red, green, blue = levels.unbind(-3)
        product = (green * _GREEN).float().double()
        both = (blue * _BLUE + product).float().double()
        levels = (red * _RED + both).float().double().round_().unsqueeze(-3)
    return levels.float() / 255


def rows(fused: Tensor, first: Tensor, second: Tensor) -> Rows:
    """The images as they are; mean and maximum are those of the sources, on whole levels."""
    return {"fused": fused, **{name: _grey(x) for name, x in _trivial(first, second).items()}}


def stretched_rows(fused: Tensor, first: Tensor, second: Tensor) -> Rows:
    """Each image brought to the full range by itself."""
    trivial = _trivial(first, second)
    return {
        "fused": full_range(fused),
        **{name: _grey(_stretched(x)) for name, x in trivial.items()},
    }


def _trivial(first: Tensor, second: Tensor) -> Rows:
    """What anybody can do, on levels 0 to 255 in float64, where a half is exactly a half."""
    one, other = ((image.double() * 255).round() for image in (first, second))
    return {
        "first": one,
        "second": other,
        "mean": (one + other) / 2,
        "max": torch.maximum(one, other),
    }


def _stretched(levels: Tensor) -> Tensor:
    low, high = levels.aminmax()
    return (levels - low) * 255 / (high - low).clamp(min=1)


def _grey(levels: Tensor) -> Tensor:
    return levels.round().float() / 255
