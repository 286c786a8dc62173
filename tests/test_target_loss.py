"""Losses that keep targets: laws, worked cases, and their place in the recipe of CDDFuse."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cddfuse.filters import gaussian_window
from cddfuse.losses_target import blurred, overshoot, target_contrast
from cddfuse.pair import ImagePair
from cddfuse.recipes.cddfuse import CDDFuseRecipe

SMALL, BODY = slice(20, 28), slice(70, 120)


def flat(level: float) -> Tensor:
    return torch.full((1, 1, 150, 150), level)


@pytest.fixture
def hot() -> Tensor:
    """Level 0.2 with a small target and a large one of level 0.8."""
    image = flat(0.2)
    image[..., SMALL, SMALL] = image[..., BODY, BODY] = 0.8
    return image


def test_nothing_is_missing_of_the_source_itself(hot: Tensor) -> None:
    assert target_contrast(hot, flat(0.5), hot).item() == 0


def test_more_contrast_than_the_source_has_is_no_loss(hot: Tensor) -> None:
    assert target_contrast(hot * 1.2, flat(0.5), hot).item() == 0


def test_all_is_missing_without_contrast_and_three_times_that_if_inverted(hot: Tensor) -> None:
    gone = target_contrast(flat(0.5), flat(0.5), hot).item()
    assert gone == pytest.approx(1, abs=0.05)
    assert target_contrast(1 - hot, flat(0.5), hot).item() == pytest.approx(3 * gone, rel=1e-5)


def test_half_the_contrast_is_three_eighths_of_a_loss(hot: Tensor) -> None:
    gone = target_contrast(flat(0.5), flat(0.5), hot).item()
    half = target_contrast(hot / 2, flat(0.5), hot).item()
    assert half == pytest.approx(gone * (1 / 2 + 1 / 4) / 2, rel=1e-5)


def test_contrast_may_come_from_darker_surroundings(hot: Tensor) -> None:
    # Both images bright: the target keeps its level, what is around it gives way.
    assert target_contrast(hot + 0.2, flat(1.0), hot).item() == pytest.approx(0, abs=1e-6)
    fused = flat(0.8).requires_grad_()
    target_contrast(fused, flat(0.8), hot).backward()
    assert fused.grad is not None
    assert fused.grad[..., 23, 23] < 0 < fused.grad[..., 23, 36]


def test_gain_asks_for_more_than_the_source_has(hot: Tensor) -> None:
    assert target_contrast(hot, flat(0.5), hot, target_gain=1.2).item() > 0.08
    assert target_contrast(hot * 1.2, flat(0.5), hot, target_gain=1.2).item() < 1e-5


def test_prominence_leaves_faint_targets_out(hot: Tensor) -> None:
    both = hot.clone()
    both[..., 60:64, 60:64] = 0.45  # faint, beside one that is far brighter
    lost = both.clone()
    lost[..., 56:68, 56:68] = both.median()
    faint = {x: target_contrast(lost, lost, both, target_prominence=x).item() for x in (0, 3)}
    assert faint[0] > 0.01
    assert faint[3] < faint[0] / 4


def test_small_targets_count_more_than_by_their_pixels(hot: Tensor) -> None:
    without_small, without_body = hot.clone(), hot.clone()
    without_small[..., SMALL, SMALL] = without_body[..., BODY, BODY] = 0.2
    small, body = (target_contrast(x, flat(0.5), hot) for x in (without_small, without_body))
    assert 1 < body / small < 12  # of pixels the body has 39 times as many


def test_a_body_must_be_more_than_an_outline(hot: Tensor) -> None:
    outline = hot.clone()
    outline[..., 76:114, 76:114] = 0.2
    wide, narrow = (
        target_contrast(outline, flat(0.5), hot, scales=scales) for scales in ((24.0,), (4.0,))
    )
    assert wide > 4 * narrow


def test_what_is_dim_is_no_target() -> None:
    image = flat(0.5)
    image[..., SMALL, SMALL] = 0.53
    assert target_contrast(flat(0.5), flat(0.5), image).item() == 0


def test_of_two_neighbours_that_counts_less_which_stands_out_of_both() -> None:
    source, other = flat(0.2), flat(0.2)
    source[..., SMALL, SMALL] = source[..., SMALL, 36:44] = other[..., SMALL, SMALL] = 0.8
    without_both, without_one = source.clone(), source.clone()
    without_both[..., SMALL, SMALL] = without_one[..., SMALL, 36:44] = 0.2
    one = target_contrast(without_one, other, source)
    assert one > 1.3 * target_contrast(without_both, other, source)


def test_flat_and_black_images_have_a_derivative() -> None:
    for level in (0.0, 0.5):
        fused = flat(level).requires_grad_()
        target_contrast(fused, flat(level), flat(level)).backward()
        assert fused.grad is not None
        assert torch.isfinite(fused.grad).all()


def test_overshoot_is_what_is_beyond_both() -> None:
    fused = torch.tensor([0.5, 0.62, 0.73, 0.27, 0.0]).view(1, 1, 1, 5)
    first, second = torch.full_like(fused, 0.4), torch.full_like(fused, 0.6)
    assert overshoot(fused, first, second).item() == pytest.approx((0.1 + 0.1 + 0.37) / 5)


def exactly_blurred(image: Tensor, sigma: float) -> Tensor:
    reach = round(4 * sigma)
    line = gaussian_window(2 * reach + 1, sigma).float()
    kernel = torch.outer(line, line)[None, None]
    inside = F.conv2d(torch.ones_like(image), kernel, padding=reach)
    return F.conv2d(image, kernel, padding=reach) / inside


@pytest.mark.parametrize("sigma", [2.0, 8.0, 24.0])
def test_wide_blurs_at_reduced_resolution_are_the_same(sigma: float) -> None:
    image = torch.rand(1, 1, 160, 171, generator=torch.manual_seed(0))
    image[..., 60:90, 50:100] += 1
    expected = exactly_blurred(image, sigma)
    torch.testing.assert_close(blurred(image, sigma), expected, rtol=0, atol=0.015)
    assert blurred(flat(0.3), sigma).sub(0.3).abs().max() < 1e-6


@pytest.mark.parametrize("sigma", [8.0, 24.0])
@pytest.mark.parametrize("size", [(25, 33), (49, 73), (97, 113)])
def test_blocks_that_the_border_cuts_off_weigh_less(size: tuple[int, int], sigma: float) -> None:
    image = torch.rand(2, 1, *size, generator=torch.manual_seed(0)) / 3
    image[..., -7:, :] += 1 / 3
    image[..., -9:] += 1 / 3
    expected = torch.cat([exactly_blurred(each, sigma) for each in image.split(1)])
    torch.testing.assert_close(blurred(image, sigma), expected, rtol=0, atol=0.015)


def test_the_recipe_asks_for_targets_of_either_image(hot: Tensor) -> None:
    pair = ImagePair(hot[..., :64, :64], flat(0.5)[..., :64, :64])
    values = {}
    for shows in ("first", "second"):
        recipe = CDDFuseRecipe(loss={"target_contrast": 20}, target_source=shows, single_stage=True)
        (stage,) = recipe.stages()
        assert stage.weights["target_contrast"] == 20
        torch.manual_seed(0)
        term = stage.terms(recipe.create_model(), pair)["target_contrast"]
        values[shows] = term().item()
    assert values["first"] > 0
    assert values["second"] == 0  # flat
