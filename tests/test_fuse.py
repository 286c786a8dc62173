"""Fusing one pair: size, colour, batches, the stretch, and what is refused."""

from math import inf, nan

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from cddfuse import ImagePair, InputError, fuse
from cddfuse.colour import luma
from cddfuse.fuse import _finite, full_range
from cddfuse.models import Card, FusionModel


class Share(FusionModel):
    """So much of the first image, the rest of the second, times a gain."""

    card = Card(name="share", paper="https://example.org")

    def __init__(self, first: float = 0.5, gain: float = 1.0) -> None:
        super().__init__()
        self.first = first
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        assert first.ndim == second.ndim == 4
        assert first.shape[1] == second.shape[1] == 1
        return self.gain * (self.first * first + (1 - self.first) * second)


def image(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("second", [1, 3])
@pytest.mark.parametrize("first", [1, 3])
@pytest.mark.parametrize("batch", [(), (1,), (3,)], ids=str)
def test_network_sees_brightness_and_result_is_in_colour_if_a_source_is(
    batch: tuple[int, ...], first: int, second: int
) -> None:
    pair = ImagePair(image(*batch, first, 5, 7), image(*batch, second, 5, 7, seed=1))
    fused = fuse(Share(0.25), pair)
    assert fused.shape == (*batch, max(first, second), 5, 7)
    torch.testing.assert_close(luma(fused), 0.25 * luma(pair.first) + 0.75 * luma(pair.second))


def test_colour_of_the_first_image_is_kept() -> None:
    first = 0.4 + 0.2 * image(3, 5, 7)
    pair = ImagePair(first, luma(first) + 0.1)
    torch.testing.assert_close(fuse(Share(0), pair), first + 0.1)
    both_in_colour = ImagePair(first, image(3, 5, 7, seed=1))
    fused = fuse(Share(1), both_in_colour)
    torch.testing.assert_close(fused, first)


@pytest.mark.parametrize("channels", [1, 3])
def test_colour_of_the_second_image_is_kept_where_only_it_has_any(channels: int) -> None:
    second = 0.4 + 0.2 * image(3, 5, 7)
    grey = (luma(second) + 0.1).expand(channels, -1, -1)
    torch.testing.assert_close(fuse(Share(1), ImagePair(grey, second)), second + 0.1)
    assert fuse(Share(1), ImagePair(grey, second), grey=True).shape[0] == 1
    faint = luma(second) + torch.tensor([0.0, 0.004, 0.008])[:, None, None]  # as of a grey JPEG
    assert fuse(Share(1), ImagePair(grey[:1], faint)).shape[0] == 1


def test_colour_that_leaves_the_range_is_made_paler_and_brightness_kept() -> None:
    pair = ImagePair(image(3, 9, 9), image(1, 9, 9, seed=1))
    fused = fuse(Share(0), pair)
    assert 0 <= fused.min() <= fused.max() <= 1
    torch.testing.assert_close(luma(fused), pair.second)


def test_grey_leaves_the_colour_out() -> None:
    pair = ImagePair(image(3, 5, 7), image(1, 5, 7, seed=1))
    fused = fuse(Share(0.25), pair, grey=True)
    torch.testing.assert_close(fused, 0.25 * luma(pair.first) + 0.75 * pair.second)


def test_collated_pairs_are_a_batch() -> None:
    pairs = [ImagePair(image(3, 5, 7, seed=s), image(1, 5, 7, seed=s + 9), str(s)) for s in (0, 1)]
    together = fuse(Share(), ImagePair(*default_collate(pairs)))
    torch.testing.assert_close(together, torch.stack([fuse(Share(), pair) for pair in pairs]))


def test_what_a_network_gives_beyond_the_range_is_cut_off() -> None:
    pair = ImagePair(image(1, 5, 7), image(1, 5, 7, seed=1))
    mean = (pair.first + pair.second) / 2
    torch.testing.assert_close(fuse(Share(gain=2.0), pair), (2 * mean).clamp(0, 1))
    assert not fuse(Share(gain=-1.0), pair).any()


def test_stretch_brings_each_result_to_the_full_range() -> None:
    pair = ImagePair(0.3 + 0.4 * image(2, 1, 5, 7), torch.zeros(2, 1, 5, 7))
    plain, stretched = fuse(Share(), pair), fuse(Share(), pair, stretch=True)
    assert plain.amax() < 0.5
    for one, other in zip(plain, stretched, strict=True):
        assert (other.min(), other.max()) == (0, 1)
        torch.testing.assert_close(other, (one - one.min()) / (one.max() - one.min()))


def test_stretch_comes_after_the_range_and_before_the_colour() -> None:
    first = image(3, 5, 7)
    fused = fuse(Share(1, gain=2.0), ImagePair(first, torch.zeros(1, 5, 7)), stretch=True)
    expected = full_range((2 * luma(first)).clamp(0, 1))
    torch.testing.assert_close(luma(fused), expected)


def test_full_range_worked_by_hand() -> None:
    levels = torch.tensor([[0.2, 0.4, 0.6], [0.5, 0.5, 0.5]]).reshape(2, 1, 1, 3)
    torch.testing.assert_close(
        full_range(levels).reshape(2, 3), torch.tensor([[0, 0.5, 1], [0, 0, 0]])
    )


def test_model_keeps_its_mode_and_its_gradients() -> None:
    model = Share().train()
    fused = fuse(model, ImagePair(image(1, 5, 7), image(1, 5, 7)))
    assert model.training
    assert not fused.requires_grad
    assert model.gain.grad is None


def test_model_without_parameters_will_do() -> None:
    class Brighter(FusionModel):
        card = Card(name="brighter", paper="https://example.org")

        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            return torch.maximum(first, second)

    pair = ImagePair(image(1, 5, 7), image(1, 5, 7, seed=1))
    torch.testing.assert_close(fuse(Brighter(), pair), torch.maximum(pair.first, pair.second))


GOOD = torch.full((1, 4, 5), 0.5)


def spoilt(value: float) -> Tensor:
    bad = GOOD.clone()
    bad[0, 1, 2] = value
    return bad


@pytest.mark.parametrize("side", ["first", "second"])
@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (spoilt(float("nan")), "an image has values that are not numbers (NaN or infinite)."),
        (spoilt(float("inf")), "an image has values that are not numbers (NaN or infinite)."),
        (GOOD[0], "an image has the shape (4, 5), where (C, H, W) or"),
        (GOOD.expand(2, 4, 5), "an image has the shape (2, 4, 5), where (C, H, W) or"),
        (GOOD[:, :0], "an image has the shape (1, 0, 5), where"),
        (GOOD[None, None], "an image has the shape (1, 1, 1, 4, 5), where"),
        (GOOD.to(torch.uint8), "an image is torch.uint8, where float32 in [0, 1] is needed."),
    ],
    ids=["nan", "inf", "flat", "channels", "empty", "dimensions", "integers"],
)
def test_unusable_image_is_refused_by_name(side: str, bad: Tensor, sentence: str) -> None:
    sources = {"first": GOOD, "second": GOOD, side: bad}
    pair = ImagePair(sources["first"], sources["second"], "street")
    with pytest.raises(InputError) as caught:
        fuse(Share(), pair)
    assert str(caught.value).startswith(f"pair street: {sentence}")


@pytest.mark.parametrize(
    ("first", "second", "sizes"),
    [
        (GOOD, GOOD.mT, "5x4 and 4x5"),
        (GOOD, GOOD[:, :, 1:], "5x4 and 4x4"),
        (GOOD.expand(2, 1, 4, 5), GOOD.expand(3, 1, 4, 5), "2x5x4 and 3x5x4"),
        (GOOD, GOOD[None], "5x4 and 1x5x4"),
    ],
)
def test_images_of_different_size_are_refused(first: Tensor, second: Tensor, sizes: str) -> None:
    with pytest.raises(InputError) as caught:
        fuse(Share(), ImagePair(first, second))
    assert str(caught.value) == f"the images differ in size: {sizes}."


@pytest.mark.parametrize(("values", "finite"), [([3e38] * 4, True), ([1, nan], False)])
@pytest.mark.parametrize("more", [[], [inf], [inf, -inf]])
def test_values_are_finite_though_their_sum_may_not_be(
    values: list[float], finite: bool, more: list[float]
) -> None:
    assert _finite(torch.tensor(values + more)) is (finite and not more)
