"""Images that do not fit the memory, in tiles that join without seams."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from cddfuse.models.base import FusionModel
from cddfuse.runtime.cddfuse.exact import Fast, Progress
from cddfuse.runtime.cddfuse.patches import Patch, patches

HALO = 27  # pixels around one that CDDFuse looks at: 9 shallow, 6 detail, 2 fusion, 8 decoder, 2
SMALLEST = 64
_OVERLAP = 32  # pixels on each side over which tiles of other networks are blended
_SAMPLE = 512  # least side of the sample that attention is taken from
_GOOD_SAMPLE = 1024  # what it should be, even for small tiles
_PIECE = 64  # side of the squares it is made of
_MARGIN = 8  # pixels at their edges that are not counted


class Frozen:
    """A CDDFuse whose attention is that of a sample of the image.

    Attention is the one thing that depends on the whole image. With its matrices given, a tile and
    `HALO` pixels around it are all that its result depends on: tiles join exactly, and none has
    statistics of its own.

    Args:
        fast: the network.
        side: of a tile, without what lies around it.
        room: side of what fits the memory.
        progress: told which share is done, again and again.
    """

    def __init__(
        self, fast: Fast, side: int, room: int, progress: Progress = lambda share: None
    ) -> None:
        self._fast = fast
        self._side = side
        self._of_sample = sample_side(side, room)
        self._progress = progress

    @torch.inference_mode()
    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        """Fuse a pair (1, 1, H, W)."""
        matrices: list[Tensor] = []
        fused = torch.empty_like(first)
        tiles = list(_around(first.shape[-2:], self._side, HALO))
        share = _Shares(self._progress, len(tiles) + 1)
        one, two, counted = sample(first, second, self._of_sample)
        self._fast(one, two, found=matrices, counted=counted, progress=share.of_next())
        for tile, around in tiles:
            one, two = _cut(first, around), _cut(second, around)
            result = self._fast(one, two, given=matrices, progress=share.of_next())
            _cut(fused, tile)[:] = _cut(result, tile.within(around))
        return fused


def sample_side(tile: int, room: int) -> int:
    """Side of the sample: a good one if it fits the memory, and at least that of a tile.

    It shrinks with tiles, which become smaller where memory turns out to be less than thought.
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

    Squares that are close to each other in the image fit well enough: more of them is better then.
    """
    far = len(spans) > 1 and abs(spans[1][0] - spans[0][0]) > 1.5 * _PIECE
    place = 0
    for start, stop in spans:
        after = place + stop - start
        before = _MARGIN if far and start > 0 else 0
        behind = _MARGIN if far and stop < length else 0
        yield place + before, after - behind
        place = after


def blended(
    model: FusionModel,
    whole: Callable[[Tensor, Tensor], Tensor],
    first: Tensor,
    second: Tensor,
    side: int,
) -> Tensor:
    """Run any network over tiles.

    Where the card says how far the network looks, tiles that overlap by as much join exactly; else
    they fade from one to the next.

    Args:
        model: the network; its card says which sides it can take.
        whole: runs it over images of a size that it can take.
        first: (B, 1, H, W).
        second: likewise.
        side: of a tile, without the overlap.
    """
    multiple, radius = model.card.multiple_of, model.card.receptive_radius
    if radius is not None:
        fused = torch.empty_like(first)
        for tile, around in _around(first.shape[-2:], side, radius, multiple):
            result = whole(_cut(first, around), _cut(second, around))
            _cut(fused, tile)[:] = _cut(result, tile.within(around))
        return fused
    total, weights = torch.zeros_like(first), torch.zeros_like(first)
    for _, around in _around(first.shape[-2:], side, _OVERLAP, multiple):
        weight = _fading(around, first)
        result = whole(_cut(first, around), _cut(second, around))
        _cut(total, around).add_(result * weight)
        _cut(weights, around).add_(weight)
    return total / weights


def _around(
    shape: torch.Size, side: int, halo: int, multiple: int = 1
) -> Iterator[tuple[Patch, Patch]]:
    """Tiles of an image, and each with what lies around it, whose sides divide by `multiple`."""
    height, width = shape
    for tile in patches(height, width, side, side):
        top, left, below, right = tile.grown(halo, height, width)
        # The image divides, so there is always room to widen a tile.
        top, below = _widened(top, below, height, multiple)
        left, right = _widened(left, right, width, multiple)
        yield tile, Patch(top, left, below, right)


def _widened(start: int, stop: int, length: int, multiple: int) -> tuple[int, int]:
    missing = -(stop - start) % multiple
    after = min(missing, length - stop)
    return start - (missing - after), stop + after


def _fading(around: Patch, image: Tensor) -> Tensor:
    """Weights of a tile (h, w) that fall towards the sides on which it has neighbours."""
    height, width = image.shape[-2:]
    lines = []
    for start, stop, length in (
        (around.top, around.bottom, height),
        (around.left, around.right, width),
    ):
        place = torch.arange(stop - start, device=image.device) + 1.0
        before = place if start else torch.full_like(place, torch.inf)
        after = place.flip(0) if stop < length else torch.full_like(place, torch.inf)
        lines.append(torch.minimum(before, after).clamp(max=2 * _OVERLAP) / (2 * _OVERLAP))
    return lines[0][:, None] * lines[1]


def _cut(image: Tensor, patch: Patch) -> Tensor:
    return image[..., patch.top : patch.bottom, patch.left : patch.right]
