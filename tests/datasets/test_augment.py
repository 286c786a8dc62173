"""Random changes of training images. Those that crops ask for are in `test_crops.py`."""

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from cddfuse.datasets.augment import taken

SIDE = 32
RAMP = torch.linspace(0, 1, SIDE * SIDE).view(1, SIDE, SIDE)
CAMERAS = 600


def all_cameras(image: Tensor) -> list[Tensor]:
    return [taken(image, seed) for seed in range(CAMERAS)]


def _roughness(image: Tensor) -> float:
    """The standard deviation of noise that is not there in a smooth image."""
    return float(image.diff().diff().std()) / 6**0.5


def share(condition: list[bool]) -> float:
    return sum(condition) / len(condition)


@pytest.fixture(scope="module")
def flats() -> list[Tensor]:
    """What cameras make of a grey wall."""
    return all_cameras(torch.full((1, SIDE, SIDE), 0.5))


@pytest.fixture(scope="module")
def ramps() -> list[Tensor]:
    return all_cameras(RAMP)


def test_all_that_cameras_give_is_in_range_and_of_the_same_shape(ramps: list[Tensor]) -> None:
    for image in ramps:
        assert image.shape == RAMP.shape
        assert image.dtype == torch.float32
        assert 0 <= image.min() <= image.max() <= 1
        assert not torch.equal(image, RAMP)


def test_a_camera_is_the_same_each_time_on_any_number_of_threads() -> None:
    image = torch.rand(1, 200, 300, generator=torch.Generator().manual_seed(0))
    results = []
    before = torch.get_num_threads(), cv2.getNumThreads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            cv2.setNumThreads(threads)
            results.append([taken(image, seed) for seed in range(40)])
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])
    for number, (one, other) in enumerate(zip(*results, strict=True)):
        assert torch.equal(one, other)
        assert not torch.equal(one, results[0][number - 1])


def test_three_in_ten_have_noise_of_at_most_three_percent(flats: list[Tensor]) -> None:
    # Second differences: light is smooth, and so is what equalisation makes of a wall.
    noisy = [value for image in flats if (value := _roughness(image)) > 0.005]
    assert 0.2 < len(noisy) / CAMERAS < 0.3  # a sixth is less
    assert 0.02 < max(noisy) < 0.045


def test_one_in_four_sees_uneven_light(flats: list[Tensor]) -> None:
    coarse = [torch.nn.functional.avg_pool2d(image, 8) for image in flats]
    uneven = [float(image.max() / image.min().clamp_min(0.01)) > 1.1 for image in coarse]
    assert 0.15 < share(uneven) < 0.35


def test_one_in_ten_gives_negatives(ramps: list[Tensor]) -> None:
    slopes = [np.polyfit(np.arange(SIDE**2), image.flatten().numpy(), 1)[0] for image in ramps]
    assert 0.07 < share([slope < 0 for slope in slopes]) < 0.13


def test_three_in_five_have_a_black_level_and_as_many_a_white_level(ramps: list[Tensor]) -> None:
    rising = [image for image in ramps if (image.diff() >= 0).all() and _roughness(image) < 0.003]
    lows = np.array([float(image.min()) for image in rising])
    highs = np.array([float(image.max()) for image in rising])
    assert 0.6 < (lows > 0.001).mean() < 0.85  # curves have one, too
    assert 0.5 < (highs < 0.999).mean() < 0.7
    assert 0.25 < lows.max() < 0.7
    assert 0.6 <= highs.min() < 0.65


def test_one_in_five_is_out_of_focus() -> None:
    # Only a blur makes points on black wider; equalisation and noise do not reach their neighbours
    # alone.
    points = torch.zeros(1, SIDE, SIDE)
    points[:, 4::8, 4::8] = 1
    spread = []
    for image in all_cameras(points):
        beside = image[:, 4::8, 5::8].mean() - image[:, 0::8, 0::8].mean()
        centre = image[:, 4::8, 4::8].mean() - image[:, 0::8, 0::8].mean()
        spread.append(bool(beside / centre > 0.05))
    assert 0.12 < share(spread) < 0.28


def test_responses_are_gammas_from_less_than_a_half_to_more_than_two(
    ramps: list[Tensor],
) -> None:
    middles = []
    for image in ramps:
        levels = image.flatten()
        if (levels.diff() >= 0).all():  # neither noise, light, equalisation nor a negative
            middles.append(float((levels[512] - levels[0]) / (levels[-1] - levels[0])))
    gammas = -np.log2(np.clip(middles, 1e-6, 1 - 1e-6))
    assert len(gammas) > CAMERAS / 5
    assert gammas.min() < 0.45
    assert gammas.max() > 2.2
    assert share([abs(np.log(value)) > 0.5 for value in gammas]) > 0.4
    assert any(not 0.4 <= value <= 2.5 for value in gammas)  # by curves before the gamma


def test_black_and_white_images_stay_finite() -> None:
    for level in (0.0, 1.0):
        for image in all_cameras(torch.full((1, 16, 16), level)):
            assert image.isfinite().all()
