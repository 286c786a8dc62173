"""The images that are scored: grey as in published tables, and the baselines beside them."""

import torch
from torch import Tensor

from cddfuse.fuse import full_range

_RED, _GREEN, _BLUE = torch.tensor((0.299, 0.587, 0.114), dtype=torch.float32).double().tolist()

Rows = dict[str, Tensor]
"""Grey images (1, H, W) in [0, 1]: the fused one, the sources, their mean and their maximum."""


def published_grey(image: Tensor) -> Tensor:
    """Convert an image (..., C, H, W), C being 1 or 3, to 8-bit grey (..., 1, H, W) in [0, 1].

    Equal to the last bit to OpenCV's reader and BGR2GRAY on x86, as used for the published tables:
    16 bits are truncated to 8, colours are added by fused multiply-adds in float32 (emulated in
    float64, where their products are exact) and rounded half to even. `colour.luma` does not round.
    """
    # 257 of the 65536 levels lie between two 8-bit ones, so 8-bit images do not change.
    levels = (image.double() * 65535).round_().div_(256).floor_()
    if image.shape[-3] == 3:
        red, green, blue = levels.unbind(-3)
        product = (green * _GREEN).float().double()
        both = (blue * _BLUE + product).float().double()
        levels = (red * _RED + both).float().double().round_().unsqueeze(-3)
    return levels.float() / 255


def rows(fused: Tensor, first: Tensor, second: Tensor) -> Rows:
    """The fused image and the baselines as they are; mean and maximum are rounded to levels."""
    return {"fused": fused, **{name: _grey(x) for name, x in _baselines(first, second).items()}}


def stretched_rows(fused: Tensor, first: Tensor, second: Tensor) -> Rows:
    """The fused image and the baselines, each stretched to the full range."""
    baselines = _baselines(first, second)
    return {
        "fused": full_range(fused),
        **{name: _grey(full_range(x, 255)) for name, x in baselines.items()},
    }


def _baselines(first: Tensor, second: Tensor) -> Rows:
    """On levels 0 to 255 in float64, in which halves are exact."""
    one, other = ((image.double() * 255).round() for image in (first, second))
    return {
        "first": one,
        "second": other,
        "mean": (one + other) / 2,
        "max": torch.maximum(one, other),
    }


def _grey(levels: Tensor) -> Tensor:
    return levels.round().float() / 255
