"""The colour of fused pairs: where it comes from, and that thermal edges leave no fringes."""

from typing import get_args

import pytest
import torch
from skimage.color import rgb2lab
from torch import Tensor

from cddfuse import create_model, fuse
from cddfuse.colour import Colour, luma
from cddfuse.pair import ImagePair


def picture(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def hot_body(colour: tuple[float, float, float]) -> ImagePair:
    """A wall of one colour, before which a body shines in the infrared, with a hard edge."""
    wall = torch.tensor(colour)[:, None, None].expand(3, 24, 48).clone()
    infrared = torch.full((1, 24, 48), 0.05)
    infrared[:, 8:16, 12:36] = 0.95
    return ImagePair(wall, infrared, "")


def polar(image: Tensor) -> tuple[Tensor, Tensor]:
    """Hue and chroma in CIELAB, by an independent implementation."""
    found = torch.from_numpy(rgb2lab(image.movedim(0, -1).numpy()))
    return torch.atan2(found[..., 2], found[..., 1]), found[..., 1:].norm(dim=-1)


@pytest.mark.parametrize("colour", [(0.5, 0.3, 0.2), (0.1, 0.15, 0.4), (0.05, 0.04, 0.01)], ids=str)
@pytest.mark.parametrize("kind", ["ycbcr", "lab"])
@pytest.mark.parametrize("model", ["mean", "max", "laplacian"])
def test_thermal_edges_leave_no_fringes(
    colour: tuple[float, float, float], kind: Colour, model: str
) -> None:
    """All pixels keep the hue of the wall and none is more colourful.

    Whatever halo a method leaves at the edge has the colour of the wall, too.
    """
    pair = hot_body(colour)
    fused = fuse(create_model(model), pair, colour=kind)
    grey = fuse(create_model(model), pair, colour="grey")
    assert grey.max() - grey.min() > 0.4
    offsets = fused - luma(fused)
    wall = pair.first[:, :1, :1] - luma(pair.first)[:, :1, :1]
    if kind == "ycbcr":
        torch.testing.assert_close(luma(fused), grey, atol=1e-5, rtol=0)
        share = (offsets * wall).sum(0) / (wall**2).sum()
        assert share.min() >= -1e-4
        assert share.max() <= 1 + 1e-4
        assert (offsets - share * wall).abs().max() < 1e-4
    else:
        hue, chroma = polar(fused)
        of_wall, most = polar(pair.first)
        assert (chroma <= most + 0.1).all()
        assert (hue - of_wall)[chroma > 3].sin().abs().max() < 0.01


def test_the_default_is_the_chroma_of_the_first() -> None:
    pair = ImagePair(picture(3, 9, 9), picture(1, 9, 9, seed=1), "")
    model = create_model("mean")
    assert torch.equal(fuse(model, pair), fuse(model, pair, colour="ycbcr"))
    assert torch.equal(fuse(model, pair, grey=True), fuse(model, pair, colour="grey"))
    for colour in get_args(Colour):
        channels = 1 if colour == "grey" else 3
        assert fuse(model, pair, colour=colour).shape == (channels, 9, 9)
        grey = ImagePair(pair.second, pair.second, "")
        assert torch.equal(fuse(model, grey, colour=colour), pair.second)


def test_channels_are_fused_one_by_one() -> None:
    first, second = picture(3, 9, 9), picture(3, 9, 9, seed=1)
    model = create_model("max")
    both = fuse(model, ImagePair(first, second, ""), colour="per-channel")
    torch.testing.assert_close(both, torch.maximum(first, second))
    grey = fuse(model, ImagePair(first, second[:1], ""), colour="per-channel")
    torch.testing.assert_close(grey, torch.maximum(first, second[:1].expand(3, -1, -1)))
    other = fuse(model, ImagePair(first[:1], second, ""), colour="per-channel")
    torch.testing.assert_close(other, torch.maximum(first[:1].expand(3, -1, -1), second))


@pytest.mark.parametrize("colour", ["ycbcr", "lab"])
def test_the_colour_of_the_second_counts_only_where_the_first_has_none(colour: Colour) -> None:
    model = create_model("mean")
    grey = picture(1, 9, 9).expand(3, 9, 9)
    red = torch.tensor([0.8, 0.2, 0.2])[:, None, None].expand(3, 9, 9)
    blue = torch.tensor([0.2, 0.2, 0.7])[:, None, None].expand(3, 9, 9)
    two = fuse(model, ImagePair(red, blue, ""), colour=colour)
    assert (two[0] > two[2]).all()
    one = fuse(model, ImagePair(grey, blue, ""), colour=colour)
    assert (one[2] > one[0]).all()


def test_stretch_treats_channels_alike() -> None:
    pair = ImagePair(0.3 + 0.2 * picture(3, 9, 9), 0.4 + 0.1 * picture(1, 9, 9, seed=1), "")
    model = create_model("mean")
    plain = fuse(model, pair, colour="per-channel")
    found = fuse(model, pair, colour="per-channel", stretch=True)
    torch.testing.assert_close(found, (plain - plain.min()) / (plain.max() - plain.min()))


def test_batches_have_colour_too() -> None:
    pair = ImagePair(picture(2, 3, 9, 9), picture(2, 1, 9, 9, seed=1), "")
    model = create_model("mean")
    for colour in get_args(Colour):
        together = fuse(model, pair, colour=colour)
        for index in range(2):
            single = ImagePair(pair.first[index], pair.second[index], "")
            torch.testing.assert_close(together[index], fuse(model, single, colour=colour))
