"""Brightness and colour: worked cases and laws. A round trip alone would miss a wrong weight."""

import pytest
import torch
from skimage.color import lab2rgb, rgb2lab
from torch import Tensor

from cddfuse.colour import in_lab, join, luma, split


def pixel(*channels: float) -> Tensor:
    return torch.tensor(channels, dtype=torch.float64).reshape(-1, 1, 1)


def picture(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(
    ("colour", "brightness"),
    [
        pytest.param((1, 0, 0), 0.299, id="red"),
        pytest.param((0, 1, 0), 0.587, id="green"),
        pytest.param((0, 0, 1), 0.114, id="blue"),
        pytest.param((0.5, 0.2, 1), 0.3809, id="violet"),
        pytest.param((0.7,), 0.7, id="grey"),
    ],
)
def test_brightness_worked_by_hand(colour: tuple[float, ...], brightness: float) -> None:
    assert luma(pixel(*colour)).shape == (1, 1, 1)
    assert luma(pixel(*colour)).item() == pytest.approx(brightness, abs=1e-12)


def test_colour_is_what_each_channel_adds() -> None:
    brightness, chroma = split(pixel(1, 0, 0))
    assert brightness.item() == pytest.approx(0.299)
    assert chroma is not None
    assert chroma.flatten().tolist() == pytest.approx([0.701, -0.299, -0.299])


def test_grey_has_no_colour() -> None:
    image = picture(2, 1, 3, 4)
    brightness, chroma = split(image)
    assert torch.equal(brightness, image)
    assert chroma is None
    assert torch.equal(join(brightness, None), image)


def test_colour_that_does_not_fit_is_made_paler() -> None:
    # Red lifted to 0.5: its first channel has room for 0.5 of 0.701, so all keep 0.5 / 0.701.
    _, chroma = split(pixel(1, 0, 0))
    expected = [1, 0.5 - 0.299 * 0.5 / 0.701, 0.5 - 0.299 * 0.5 / 0.701]
    assert join(pixel(0.5), chroma).flatten().tolist() == pytest.approx(expected)
    # Lowered to 0.1: the others can lose 0.1 of 0.299.
    expected = [0.1 + 0.701 * 0.1 / 0.299, 0, 0]
    assert join(pixel(0.1), chroma).flatten().tolist() == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(3, 5, 4), (2, 3, 5, 4), (2, 2, 3, 5, 4)], ids=str)
def test_join_undoes_split(shape: tuple[int, ...]) -> None:
    image = picture(*shape)
    brightness, chroma = split(image)
    assert brightness.shape == (*shape[:-3], 1, *shape[-2:])
    torch.testing.assert_close(join(brightness, chroma), image)


def test_colour_that_fits_is_kept_whole() -> None:
    image = 0.4 + 0.2 * picture(3, 5, 4)
    brightness, chroma = split(image)
    torch.testing.assert_close(join(brightness + 0.1, chroma), image + 0.1)


def test_new_brightness_and_hue_are_exact_whatever_fits() -> None:
    image, brightness = picture(3, 9, 9), picture(1, 9, 9, seed=1)
    _, chroma = split(image)
    assert chroma is not None
    joined = join(brightness, chroma)
    assert 0 <= joined.min() <= joined.max() <= 1
    torch.testing.assert_close(luma(joined), brightness)
    # The new colour is the old one times a number between 0 and 1 that all channels share.
    share = (joined - brightness) / chroma
    torch.testing.assert_close(share[:1].expand_as(share), share)
    assert share.min() >= 0
    assert share.max() <= 1 + 1e-9


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_black_and_white_take_no_colour(level: float) -> None:
    _, chroma = split(picture(3, 4, 4))
    brightness = torch.full((1, 4, 4), level, dtype=torch.float64)
    torch.testing.assert_close(join(brightness, chroma), brightness.expand(3, 4, 4))


def test_grey_in_three_channels_stays_grey() -> None:
    _, chroma = split(picture(1, 4, 4).expand(3, 4, 4))
    brightness = picture(1, 4, 4, seed=1)
    torch.testing.assert_close(join(brightness, chroma), brightness.expand(3, 4, 4))


def lab(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """CIELAB of an independent implementation: lightness, chroma and hue."""
    found = torch.from_numpy(rgb2lab(image.movedim(-3, -1).numpy()))
    light, a, b = found.unbind(-1)
    return light, torch.hypot(a, b), torch.atan2(b, a)


@pytest.mark.parametrize("shape", [(3, 40, 30), (2, 3, 20, 15)], ids=str)
def test_lab_keeps_hue_and_takes_the_new_lightness(shape: tuple[int, ...]) -> None:
    image, brightness = picture(*shape), picture(*shape[:-3], 1, *shape[-2:], seed=1)
    joined = in_lab(brightness, image)
    assert 0 <= joined.min() <= joined.max() <= 1
    light, chroma, hue = lab(joined)
    assert (light - lab(brightness.expand(shape))[0]).abs().max() < 0.02
    _, before, wanted = lab(image)
    coloured = (chroma > 3) & (before > 3)
    assert (hue - wanted)[coloured].sin().abs().max() < 0.01
    assert (chroma <= before + 0.05).all()


def test_lab_keeps_colours_that_fit() -> None:
    image = 0.4 + 0.2 * picture(3, 20, 30)
    light = lab(image)[0]
    grey = lab2rgb(torch.stack([light, 0 * light, 0 * light], -1).numpy())[..., :1]
    found = in_lab(torch.from_numpy(grey).movedim(-1, 0), image)
    torch.testing.assert_close(found, image, atol=1e-3, rtol=0)


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_lab_black_and_white_take_no_colour(level: float) -> None:
    brightness = torch.full((1, 4, 4), level, dtype=torch.float64)
    found = in_lab(brightness, picture(3, 4, 4))
    torch.testing.assert_close(found, brightness.expand(3, 4, 4), atol=2e-3, rtol=0)


def test_a_colour_is_desaturated_no_more_than_it_must() -> None:
    """Channel by channel: up to white, down to black; where channels are 0 or have one sign too."""
    random = torch.Generator().manual_seed(0)
    chroma = (torch.rand(3, 30, 40, generator=random) * 8).round() / 4 - 1
    chroma[:, :5] = chroma[:, :5].abs()
    chroma[:, 5:10] = -chroma[:, 5:10].abs()
    grey = (torch.rand(1, 30, 40, generator=random) * 4).round() / 4
    room = torch.where(chroma > 0, 1 - grey, grey) / chroma.abs().clamp(min=1e-38)
    saturation = room.amin(0).clamp(max=1)
    assert torch.equal(join(grey, chroma), (grey + saturation * chroma).clamp(0, 1))
