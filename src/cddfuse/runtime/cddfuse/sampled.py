"""CDDFuse in tiles whose attention is that of a sample of the image.

Attention is the one thing in the network that depends on the whole image. With its matrices given,
a tile and `HALO` pixels around it are all that its result depends on: tiles join exactly, and none
has statistics of its own.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from cddfuse.runtime.cddfuse.exact import Fast
from cddfuse.runtime.limits import Progress
from cddfuse.runtime.patches import Patch
from cddfuse.runtime.tiles import tiles

HALO = 27  # pixels that CDDFuse looks far: 9 shallow, 6 detail, 2 fusion, 8 decoder, 2
_SAMPLE = 512  # least side of the sample that attention is taken from
_GOOD_SAMPLE = 1024  # preferred side, even for small tiles
_PIECE = 64  # side of the squares that the sample is made of
_MARGIN = 8  # pixels at their edges that are not counted


@torch.inference_mode()
def fuse_sampled(
    fast: Fast,
    first: Tensor,
    second: Tensor,
    side: int,
    room: int,
    progress: Progress | None = None,
) -> Tensor:
    """Fuse a pair (1, 1, H, W) in tiles.

    Args:
        fast: the network.
        first: the first image.
        second: the second image.
        side: of a tile, without its halo.
        room: side of the largest image that fits into memory.
        progress: called with the finished share.
    """
    matrices: list[Tensor] = []
    maps: list[Tensor] = []
    fused = torch.empty_like(first)
    cut = list(tiles(first.shape[-2:], side, HALO))
    share = _Shares(progress or (lambda share: None), len(cut) + 1)
    one, two, counted = sample(first, second, sample_side(side, room))
    fast(one, two, found=matrices, counted=counted, maps=maps, progress=share.of_next())
    for tile, around in cut:
        one, two = around.cut(first), around.cut(second)
        result = fast(one, two, given=matrices, maps=maps, progress=share.of_next())
        tile.cut(fused)[:] = tile.within(around).cut(result)
    return fused


def sample_side(tile: int, room: int) -> int:
    """Side of the sample: a good one if it fits into memory, and at least that of a tile.

    It shrinks with the tiles, which become smaller where memory turns out to be short.
    """
    return max(min(_GOOD_SAMPLE, room, 4 * tile), tile + 2 * HALO, _SAMPLE)


class _Shares:
    """Progress of several parts, one after another, as progress of the whole."""

    def __init__(self, progress: Progress, parts: int) -> None:
        self._progress = progress
        self._parts = parts
        self._next = 0

    def of_next(self) -> Progress:
        """Progress of the next part."""
        before = self._next
        self._next += 1
        return lambda share: self._progress((before + share) / self._parts)


class Sample(NamedTuple):
    """Squares of both images, put together."""

    first: Tensor
    second: Tensor
    counted: list[Patch]
    """Where statistics are taken: not at edges that only the sample has."""


def sample(first: Tensor, second: Tensor, side: int) -> Sample:
    """Squares evenly spread over both images, at most `side` x `side` together."""
    height, width = first.shape[-2:]
    rows, columns = _spread(height, side), _spread(width, side)
    chosen = (
        ...,
        torch.cat([torch.arange(*row) for row in rows])[:, None],
        torch.cat([torch.arange(*column) for column in columns]),
    )
    counted = [
        Patch(top, left, bottom, right)
        for top, bottom in _genuine(rows, height)
        for left, right in _genuine(columns, width)
    ]
    return Sample(first[chosen], second[chosen], counted)


def _spread(length: int, side: int) -> list[tuple[int, int]]:
    """Where the squares begin and end along one direction."""
    if length <= side:
        return [(0, length)]
    piece = min(_PIECE, side)
    count = side // piece
    steps = [(length - piece) * index // max(count - 1, 1) for index in range(count)]
    return [(step, step + piece) for step in steps]


def _genuine(spans: list[tuple[int, int]], length: int) -> Iterator[tuple[int, int]]:
    """Parts of spans that lie one after another, without what is close to a hard cut.

    Adjacent squares of the image fit well enough: counting more of them is better then.
    """
    apart = len(spans) > 1 and abs(spans[1][0] - spans[0][0]) > 1.5 * _PIECE
    place = 0
    for start, stop in spans:
        after = place + stop - start
        before = _MARGIN if apart and start > 0 else 0
        behind = _MARGIN if apart and stop < length else 0
        yield place + before, after - behind
        place = after
