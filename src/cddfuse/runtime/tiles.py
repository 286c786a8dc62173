"""Images that do not fit into memory, in tiles that join without seams. For any network."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from cddfuse.models.base import Card
from cddfuse.runtime.patches import Patch, patches

OVERLAP = 32  # pixels on each side over which tiles are blended, where no overlap is exact


def in_tiles(
    card: Card,
    whole: Callable[[Tensor, Tensor], Tensor],
    first: Tensor,
    second: Tensor,
    side: int,
) -> Tensor:
    """Run a network over tiles.

    Where the card has a receptive radius, tiles that overlap by as much join exactly; else they
    fade into each other.

    Args:
        card: of the network.
        whole: runs it over images of a size that it can take.
        first: (B, 1, H, W).
        second: likewise.
        side: of a tile, without the overlap.
    """
    multiple, radius = card.multiple_of, card.receptive_radius
    if radius is not None:
        fused = torch.empty_like(first)
        for tile, around in tiles(first.shape[-2:], side, radius, multiple):
            result = whole(around.cut(first), around.cut(second))
            tile.cut(fused)[:] = tile.within(around).cut(result)
        return fused
    total, weights = torch.zeros_like(first), torch.zeros_like(first)
    for _, around in tiles(first.shape[-2:], side, OVERLAP, multiple):
        weight = _fading(around, first)
        result = whole(around.cut(first), around.cut(second))
        around.cut(total).add_(result * weight)
        around.cut(weights).add_(weight)
    return total / weights


def overlapped(card: Card, side: int) -> int:
    """Side of a tile with its overlap."""
    radius = OVERLAP if card.receptive_radius is None else card.receptive_radius
    return -(-(side + 2 * radius) // card.multiple_of) * card.multiple_of


def tiling(card: Card) -> str:
    """How tiles of a network differ from the whole image, for a warning."""
    if card.receptive_radius is None:
        return "blended where they overlap; what depends on the whole image differs between them"
    return "which join exactly"


def tiles(
    shape: torch.Size, side: int, halo: int, multiple: int = 1
) -> Iterator[tuple[Patch, Patch]]:
    """Tiles of an image, each with the patch around it that is `halo` wider on all sides.

    Sides of that patch divide by `multiple`, as those of the image do.
    """
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
        lines.append(torch.minimum(before, after).clamp(max=2 * OVERLAP) / (2 * OVERLAP))
    return lines[0][:, None] * lines[1]
