"""Networks that cannot take every size get padded images, and nobody sees it in the result."""

import numpy as np
import pytest
import torch
from torch import Tensor

from cddfuse.models import Card, FusionModel
from cddfuse.runtime import run


class Echo(FusionModel):
    """Gives one of its images back, and keeps what it saw."""

    card = Card(name="echo", paper="https://example.org", multiple_of=8, smallest=16)

    def __init__(self, *, second: bool = False) -> None:
        super().__init__()
        self.second = second
        self.seen: list[Tensor] = []

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        self.seen = [first, second]
        return second if self.second else first


class Easy(Echo):
    card = Card(name="easy", paper="https://example.org")


def images(height: int, width: int) -> tuple[Tensor, Tensor]:
    first = torch.arange(2.0 * height * width).reshape(2, 1, height, width) / 1e4
    return first, 1 - first


SIZES = [(16, 24), (17, 26), (31, 16), (16, 29), (9, 60), (10, 13), (1, 9), (7, 40), (1, 1), (3, 2)]


@pytest.mark.parametrize("second", [False, True], ids=["first", "second"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_result_is_as_if_nothing_had_been_padded(size: tuple[int, int], second: bool) -> None:
    pair = images(*size)
    model = Echo(second=second)
    assert torch.equal(run(model, *pair), pair[second])
    for image in model.seen:
        assert all(side % 8 == 0 and side >= 16 for side in image.shape[-2:])


@pytest.mark.parametrize(
    ("size", "taken", "mode"),
    [
        ((17, 26), (24, 32), "reflect"),
        ((16, 29), (16, 32), "reflect"),
        ((9, 60), (16, 64), "reflect"),
        ((8, 17), (16, 24), "edge"),  # 8 rows hold 7 to reflect, and 8 are missing
        ((17, 8), (24, 16), "edge"),
        ((1, 1), (16, 16), "edge"),
    ],
    ids=str,
)
def test_padding_is_at_the_right_and_below(
    size: tuple[int, int], taken: tuple[int, int], mode: str
) -> None:
    pair, model = images(*size), Echo()
    run(model, *pair)
    margins = [(0, 0), (0, 0), (0, taken[0] - size[0]), (0, taken[1] - size[1])]
    for image, seen in zip(pair, model.seen, strict=True):
        assert seen.shape[-2:] == taken
        np.testing.assert_array_equal(seen, np.pad(image, margins, mode=mode))  # type: ignore[call-overload]


@pytest.mark.parametrize("size", [(16, 24), (32, 16)], ids=str)
def test_what_fits_is_not_touched(size: tuple[int, int]) -> None:
    pair, model = images(*size), Echo()
    run(model, *pair)
    assert model.seen[0] is pair[0]
    assert model.seen[1] is pair[1]


@pytest.mark.parametrize("size", [(1, 1), (13, 7)], ids=str)
def test_network_that_takes_every_size_gets_it(size: tuple[int, int]) -> None:
    pair, model = images(*size), Easy()
    run(model, *pair)
    assert model.seen[0] is pair[0]
