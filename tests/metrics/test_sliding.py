"""Sliding windows agree with sums written out."""

import pytest
import torch
import torch.nn.functional as F

from cddfuse.metrics.gradients import sobel
from cddfuse.metrics.sliding import MOST_ROWS, bands, blur, box7, gaussian


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(2, 3, 47, 38, dtype=torch.float64, generator=torch.manual_seed(0))


def test_gaussian_is_normalised_symmetric_and_as_wide_as_asked() -> None:
    window = gaussian(5, 1.0)
    assert sum(window) == pytest.approx(1)
    assert window == window[::-1]
    # exp(-1 / 2) by hand
    assert window[1] / window[2] == pytest.approx(0.6065306597126334)


@pytest.mark.parametrize("step", [1, 2])
def test_blur_is_a_convolution(image: torch.Tensor, step: int) -> None:
    weights = [0.5, -1.0, 2.0, 0.25]
    kernel = torch.outer(*[torch.tensor(weights, dtype=torch.float64)] * 2)[None, None]
    expected = F.conv2d(image.flatten(0, 1)[:, None], kernel, stride=step)
    for kind in (image, image.clone().requires_grad_()):  # two programs
        torch.testing.assert_close(blur(kind, weights, step).flatten(0, 1)[:, None], expected)


def test_a_blur_with_steps_keeps_nothing_else_alive(image: torch.Tensor) -> None:
    sums = blur(image, [1.0, 2.0, 1.0], 2)
    assert sums.untyped_storage().nbytes() == sums.numel() * sums.itemsize


def test_bands_with_a_frame_are_those_of_the_framed_image(image: torch.Tensor) -> None:
    image = image.repeat(1, 1, 8, 100)
    expected = list(bands(F.pad(image, (2, 2, 2, 2)), 5))
    framed = list(bands(image, 5, frame=2))
    assert len(framed) > 2
    for one, other in zip(framed, expected, strict=True):
        assert torch.equal(one, other)


def test_sobel_is_the_same_with_and_without_a_gradient(image: torch.Tensor) -> None:
    for one, other in zip(sobel(image), sobel(image.clone().requires_grad_()), strict=True):
        torch.testing.assert_close(one, other.detach())


def test_box7_is_exact_in_single_precision() -> None:
    image = torch.randint(0, 2 * 255**2, (1, 20, 31), generator=torch.manual_seed(0))
    expected = image.unfold(-2, 7, 1).unfold(-2, 7, 1).sum((-2, -1))
    assert torch.equal(box7(image.float()).long(), expected)


@pytest.mark.parametrize("shape", [(100, 3), (41, 300), (9, 70_000), (300, 500), (7, 7)])
def test_bands_hold_each_window_once(shape: tuple[int, int]) -> None:
    rows = torch.arange(shape[0])[:, None].expand(shape)
    starts = [band[: len(band) - 6, 0] for band in bands(rows, 7)]
    assert torch.equal(torch.cat(starts), torch.arange(shape[0] - 6))
    assert all(start[0] % 2 == 0 and len(start) <= MOST_ROWS for start in starts)
