"""Rectangles of an image, and how an image is cut into them."""

from itertools import pairwise, product
from typing import NamedTuple

from torch import Tensor


class Patch(NamedTuple):
    """A rectangle of an image."""

    top: int
    left: int
    bottom: int
    right: int

    def of(self, image: Tensor) -> Tensor:
        """The part of an image (H, W, ...)."""
        return image[self.top : self.bottom, self.left : self.right]

    def cut(self, images: Tensor) -> Tensor:
        """The part of images (..., H, W)."""
        return images[..., self.top : self.bottom, self.left : self.right]

    def grown(self, by: int, height: int, width: int) -> "Patch":
        """The patch and the pixels around it that an image of that size has."""
        top, left = max(self.top - by, 0), max(self.left - by, 0)
        return Patch(top, left, min(self.bottom + by, height), min(self.right + by, width))

    def within(self, outer: "Patch") -> "Patch":
        """The same rectangle in coordinates of a larger one."""
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
