"""A map in place, whatever the order in which threads get to its patches."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cddfuse.runtime.cddfuse.exact import CHANNELS, bytes_for, largest_side
from cddfuse.runtime.cddfuse.rolling import Rolling, spare_rows
from cddfuse.runtime.patches import Patch, patches


def around(x: Tensor, patch: Patch) -> Tensor:
    """Sums of 3x3 pixels."""
    inner = patch.grown(1, *x.shape[:2])
    sums = torch.nn.functional.avg_pool2d(inner.of(x).permute(2, 0, 1), 3, 1, 1, divisor_override=1)
    return patch.within(inner).of(sums.permute(1, 2, 0))


def last_first(pieces: list[Patch], most: int, work: Callable[[Patch], None]) -> None:
    """The worst order: the earliest of those that are begun is always the last to be done."""
    begun: list[Patch] = []
    for piece in pieces:
        begun.append(piece)
        if len(begun) == most:
            for late in begun[:0:-1]:
                work(late)
            work(begun[0])
            begun.clear()
    for late in begun[::-1]:
        work(late)


def updated(cut: list[Patch], spare: int, most: int) -> tuple[Tensor, Tensor]:
    """A map after three layers in place, and what it should be."""
    height, width = cut[-1].bottom, cut[-1].right
    x = Rolling(torch.full((height + spare, width, 2), torch.nan), cut)
    expected = torch.rand(height, width, 2, generator=torch.Generator().manual_seed(0))
    x.now().copy_(expected)
    for _ in range(3):
        source, target = x.now(), x.other()

        def work(patch: Patch, source: Tensor = source, target: Tensor = target) -> None:
            patch.of(target).copy_(around(source, patch))

        last_first(list(x.ready()), most, work)
        x.turn()
        expected = around(expected, Patch(0, 0, height, width))
    return x.now(), expected


@pytest.mark.parametrize("most", [1, 2, 4, 9])
@pytest.mark.parametrize("size", [(40, 23), (41, 64), (9, 50), (33, 6), (1, 1)], ids=str)
def test_results_overwrite_nothing_that_is_still_needed(size: tuple[int, int], most: int) -> None:
    cut = patches(*size, 8, 5)
    torch.testing.assert_close(*updated(cut, spare_rows(cut, most), most))


def test_a_row_less_would_not_do() -> None:
    cut = patches(40, 23, 8, 5)
    spare = spare_rows(cut, 4)
    assert spare == 9
    found, expected = updated(cut, spare - 1, 4)
    assert not torch.allclose(found, expected)


def test_narrow_images_and_many_threads_take_two_maps() -> None:
    assert spare_rows(patches(40, 5, 8, 5), 4) == 40
    assert spare_rows(patches(40, 23, 8, 5), 64) == 40


def test_large_images_take_little_more_than_three_maps() -> None:
    floats = 3 * CHANNELS * 4
    assert floats < bytes_for(4000, 6000) / (4000 * 6000) < 1.2 * floats


@pytest.mark.parametrize("memory", [0, 10_000, 50_000_000, 2_000_000_000])
def test_the_largest_tile_fits(memory: int) -> None:
    side = largest_side(memory)
    assert side == 0 or bytes_for(side, side) <= memory
    assert bytes_for(side + 200, side + 200) > memory
