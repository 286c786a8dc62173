"""Methods without anything to learn: worked cases and laws."""

import sys

import pytest
import torch
from torch import Tensor

from cddfuse.errors import InputError
from cddfuse.models import create_model

FILTERS = ["laplacian", "dwt", "guided"]


def fused(method: str, first: Tensor, second: Tensor) -> Tensor:
    if method == "dwt":
        pytest.importorskip("pywt")
    return create_model(method)(first, second)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("first", [0.0, 1.0, 0.25]),
        ("second", [0.5, 0.0, 0.5]),
        ("mean", [0.25, 0.5, 0.375]),
        ("max", [0.5, 1.0, 0.5]),
    ],
)
def test_trivial_methods_worked_by_hand(method: str, expected: list[float]) -> None:
    first, second = torch.tensor([[0.0, 1.0, 0.25], [0.5, 0.0, 0.5]])[:, None, None, None].unbind()
    assert fused(method, first, second).flatten().tolist() == expected


@pytest.mark.parametrize("method", FILTERS)
@pytest.mark.parametrize("size", [(40, 56), (33, 47), (3, 5), (1, 1)], ids=str)
def test_image_with_itself_is_itself(method: str, size: tuple[int, int]) -> None:
    image = noise(2, 1, *size)
    torch.testing.assert_close(fused(method, image, image), image, rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", FILTERS)
def test_detail_of_either_source_is_kept(method: str) -> None:
    texture = 0.5 + 0.2 * (noise(1, 1, 64, 64) - 0.5)
    flat = torch.full_like(texture, 0.5)
    for pair in ((texture, flat), (flat, texture)):
        spread = (fused(method, *pair) - 0.5).std()
        assert spread > 0.9 * texture.std()  # of which a mean keeps half


@pytest.mark.parametrize("method", ["laplacian", "dwt"])
def test_brightness_of_flat_images_is_averaged(method: str) -> None:
    dark, bright = torch.full((1, 1, 32, 32), 0.2), torch.full((1, 1, 32, 32), 0.6)
    torch.testing.assert_close(fused(method, dark, bright), torch.full_like(dark, 0.4))


def test_guided_filter_sees_as_far_as_its_card_says() -> None:
    first, second = noise(1, 1, 3, 230), noise(1, 1, 3, 230, seed=1)
    model = create_model("guided")
    radius = model.card.receptive_radius
    assert radius == 96
    changed = first.clone()
    changed[..., 0] = 1 - changed[..., 0]
    differs = (model(first, second) != model(changed, second))[0, 0].any(0)
    assert differs[: radius - 5].any()
    assert not differs[radius + 1 :].any()


def test_guided_filter_takes_the_sharp_half_of_each_source() -> None:
    scene = noise(1, 1, 48, 96)
    blurred = torch.full_like(scene, float(scene.mean()))
    left = torch.cat([scene[..., :48], blurred[..., 48:]], dim=-1)
    right = torch.cat([blurred[..., :48], scene[..., 48:]], dim=-1)
    result = fused("guided", left, right)
    assert (result - scene).abs().mean() < 0.2 * (left - scene).abs().mean()


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pywt", None)
    with pytest.raises(InputError, match=r"pip install 'cddfuse\[classical\]'"):
        create_model("dwt")
