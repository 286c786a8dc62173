"""Alignment of synthetic scenes whose transform is known, and what cannot be aligned."""

import pytest
import torch
from scenes import SIZE, modalities, similarity, unregistered, view

from cddfuse.errors import InputError
from cddfuse.pair import ImagePair
from cddfuse.registration import Kind, align, geometry, offset

AFFINE = geometry.matrix([[1.03, 0.02, -6], [-0.01, 0.98, 5], [0, 0, 1]])
TILTED = geometry.matrix([[1.02, 0.01, -4], [0.01, 0.99, 3], [1e-4, -8e-5, 1]])


@pytest.mark.parametrize(
    ("kind", "truth", "error"),
    [
        ("similarity", similarity(4, 1.05, 9, -7), 0.25),
        ("similarity", similarity(-5, 0.93, -12, 4), 0.25),
        ("affine", AFFINE, 0.25),
        ("homography", TILTED, 0.5),
    ],
)
def test_two_modalities_are_aligned(kind: Kind, truth: torch.Tensor, error: float) -> None:
    found = align(unregistered(truth), kind)
    assert found.transform.kind == kind
    assert float(geometry.distance(found.transform.tensor, truth, SIZE)) < error
    assert not found.doubt


def test_one_modality_is_aligned_to_a_tenth_of_a_pixel() -> None:
    truth = similarity(3, 0.96, 6, 8)
    scene = modalities().first
    found = align(ImagePair(view(scene), view(scene, truth.inverse())))
    assert float(geometry.distance(found.transform.tensor, truth, SIZE)) < 0.1


def test_a_similarity_keeps_angles() -> None:
    a, b = align(unregistered(similarity(4, 1.05, 9, -7))).transform.tensor[:2, :2].T
    assert abs(float(a @ b)) < 1e-9
    assert float(a.norm()) == pytest.approx(float(b.norm()))


def test_a_smaller_second_image_needs_its_scale() -> None:
    """It sees the middle of the scene at a third of the resolution."""
    scene, size = modalities(), (42, 58)
    centre = geometry.centre(size)
    zoom = geometry.matrix([[1 / 3, 0, centre[0]], [0, 1 / 3, centre[1]], [0, 0, 1]])
    x, y = geometry.centre(SIZE)
    truth = zoom @ geometry.translation(-x + 4, -y - 3)
    pair = ImagePair(view(scene.first), view(scene.second, truth.inverse(), size))
    found = align(pair, scale=3)
    assert float(geometry.distance(found.transform.tensor, truth, SIZE)) * 3 < 1
    assert not found.doubt


def test_two_scenes_are_not_aligned_with_confidence() -> None:
    for seed in (1, 2):
        pair = ImagePair(view(modalities(seed).first), view(modalities(seed + 7).second))
        assert "confidence" in align(pair).doubt


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        (torch.rand(1, 40, 40), torch.ones(1, 40, 40), "the same value everywhere"),
        (torch.rand(1, 40, 40), torch.rand(1, 40, 20), "20x40"),
        (torch.rand(1, 16, 40), torch.rand(1, 40, 40), "40x16"),
    ],
)
def test_images_without_structure_or_pixels(
    first: torch.Tensor, second: torch.Tensor, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        align(ImagePair(first, second))


@pytest.mark.parametrize("scale", [0, -1, 1e9, float("nan")])
def test_scales_that_are_none(scale: float) -> None:
    with pytest.raises(InputError, match="is no scale"):
        align(unregistered(similarity(0, 1, 0, 0)), scale=scale)


@pytest.mark.parametrize(("x", "y"), [(0, 0), (5, -3), (-8, 2)])
def test_the_check_finds_shifts(x: int, y: int) -> None:
    off = offset(unregistered(geometry.translation(x, y)))
    assert off is not None
    assert (off.x, off.y) == (x, y)
    assert off.suspicious == (x != 0)


def test_the_check_knows_the_resolution() -> None:
    pair = unregistered(geometry.translation(4, -4))
    first, second = (torch.nn.functional.interpolate(x[None], scale_factor=4)[0] for x in pair[:2])
    off = offset(ImagePair(first, second))
    assert off is not None
    assert off.x == pytest.approx(16, abs=1.6)
    assert off.y == pytest.approx(-16, abs=1.6)


def test_small_or_flat_images_are_not_suspicious() -> None:
    assert offset(ImagePair(torch.rand(1, 40, 60), torch.rand(1, 40, 60))) is None
    flat = offset(ImagePair(torch.rand(3, 60, 60), torch.ones(1, 60, 60)))
    assert flat is not None
    assert not flat.suspicious
