"""What the two forms of CDDFuse's layers have in common: they work on one patch of a map at a time.

Maps are (H, W, channels), images (H, W, 1).
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise, product
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from cddfuse.models.cddfuse import ChannelAttention


class Patch(NamedTuple):
    """A rectangle of an image."""

    top: int
    left: int
    bottom: int
    right: int

    def of(self, image: Tensor) -> Tensor:
        """The part of an image (H, W, ...)."""
        return image[self.top : self.bottom, self.left : self.right]

    def grown(self, by: int, height: int, width: int) -> "Patch":
        """With the pixels around it that an image has."""
        top, left = max(self.top - by, 0), max(self.left - by, 0)
        return Patch(top, left, min(self.bottom + by, height), min(self.right + by, width))

    def within(self, outer: "Patch") -> "Patch":
        """Where it lies in a larger one."""
        top, left = outer.top, outer.left
        return Patch(self.top - top, self.left - left, self.bottom - top, self.right - left)


def patches(height: int, width: int, rows: int, columns: int) -> list[Patch]:
    """Cut an image into patches of much the same size, at most `rows` x `columns`."""
    cuts = product(_cuts(height, rows), _cuts(width, columns))
    return [Patch(top, left, bottom, right) for (top, bottom), (left, right) in cuts]


def _cuts(length: int, side: int) -> list[tuple[int, int]]:
    count = -(-length // side)
    edges = [length * index // count for index in range(count + 1)]
    return list(pairwise(edges))


class Layer(Protocol):
    """A layer with its weights."""

    def __call__(self, x: Tensor, patch: Patch, target: Tensor, *, add: bool = False) -> None:
        """Fill a patch of a map, or add to it, with what becomes of x."""


@dataclass(frozen=True)
class Attention:
    """Norm, attention and shortcut: two passes, the second with a matrix from the first."""

    module: ChannelAttention

    sums: Callable[[Tensor, Patch], tuple[Tensor, Tensor]]
    """Products of queries and keys, (C, C), and squares of both, (2C,), summed over a patch in
    float64. Products between heads may be left out."""

    values: Callable[[Tensor], Layer]
    """What is done once the matrix is known."""

    def matrix(self, products: Tensor, squares: Tensor) -> Tensor:
        """Attention and projection in one (C, C), from the sums over all patches."""
        queries, keys = squares.sqrt().float()[None].chunk(2, dim=1)
        with torch.inference_mode():
            return self.module.merged(products.float()[None], queries, keys)[0]


Step = Layer | Attention
