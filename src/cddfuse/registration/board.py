"""A checkerboard of two images, on which edges run on from square to square if they are aligned."""

import torch
from torch import Tensor

from cddfuse import colour
from cddfuse.pair import ImagePair

_SQUARES = 8  # along the shorter side
_CUT = 0.01  # share of the darkest and brightest pixels that contrast ignores


def checkerboard(pair: ImagePair, covered: Tensor | None = None) -> Tensor:
    """Squares of both images by turns, grey, (1, H, W), each stretched to the full range.

    Args:
        pair: images (C, H, W) of one size.
        covered: (1, H, W), from `draw`; where it is 0, the first image is shown.
    """
    first, second = (_stretched(colour.luma(image)) for image in pair[:2])
    height, width = first.shape[-2:]
    side = max(1, min(height, width) // _SQUARES)
    rows, columns = (torch.arange(length) // side for length in (height, width))
    turn = (rows[:, None] + columns) % 2 == 1
    if covered is not None:
        turn = turn & (covered[0] > 0)
    return torch.where(turn, second, first)


def _stretched(image: Tensor) -> Tensor:
    values = image.flatten().sort().values
    cut = int(_CUT * (len(values) - 1))
    low, high = values[cut], values[-1 - cut]
    return ((image - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
