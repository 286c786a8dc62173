"""Windows and gradients: worked cases and laws."""

import math

import pytest
import torch
import torch.nn.functional as F

from cddfuse.filters import convolve, gaussian_window, sobel


def test_window_worked_by_hand() -> None:
    side = math.exp(-0.5)
    expected = [side / (1 + 2 * side), 1 / (1 + 2 * side), side / (1 + 2 * side)]
    assert gaussian_window(3, 1.0).tolist() == pytest.approx(expected, abs=1e-15)
    near, far = math.exp(-0.25 / 8), math.exp(-2.25 / 8)
    expected = [far, near, near, far]
    assert gaussian_window(4, 2.0).tolist() == pytest.approx(
        [x / (2 * near + 2 * far) for x in expected], abs=1e-15
    )


@pytest.mark.parametrize(("size", "sigma"), [(11, 1.5), (17, 17 / 5), (3, 0.6), (1, 1.0)])
def test_window_is_symmetric_and_sums_to_one(size: int, sigma: float) -> None:
    window = gaussian_window(size, sigma)
    assert window.dtype == torch.float64
    assert window.shape == (size,)
    assert float(window.sum()) == pytest.approx(1, abs=1e-15)
    assert torch.equal(window, window.flip(0))


def test_gradients_of_one_bright_pixel() -> None:
    image = torch.zeros(1, 1, 5, 5)
    image[..., 2, 2] = 1
    across, down = sobel(image, "zero")[0, :, 1:4, 1:4]
    assert across.tolist() == [[1, 0, -1], [2, 0, -2], [1, 0, -1]]
    assert down.tolist() == [[1, 2, 1], [0, 0, 0], [-1, -2, -1]]


def test_gradient_of_a_step_is_four_and_of_a_ramp_eight() -> None:
    step = torch.tensor([0.0, 0, 1, 1]).expand(1, 1, 3, 4)
    across, down = sobel(step, "replicate")[0]
    assert across.tolist() == [[0, 4, 4, 0]] * 3
    assert not down.any()
    ramp = torch.arange(5.0).expand(2, 1, 4, 5).mT
    found = sobel(ramp, "replicate")
    assert found.shape == (2, 2, 5, 4)
    assert not found[:, 0].any()
    assert (found[:, 1, 1:-1] == 8).all()


def test_borders_of_a_flat_image() -> None:
    flat = torch.ones(1, 1, 3, 4)
    assert not sobel(flat, "replicate").any()
    across, down = sobel(flat, "zero")[0]
    assert across.tolist() == [[3, 0, 0, -3], [4, 0, 0, -4], [3, 0, 0, -3]]
    assert down.tolist() == [[3, 4, 4, 3], [0, 0, 0, 0], [-3, -4, -4, -3]]


@pytest.mark.parametrize(
    ("shape", "padding"), [((2, 1, 3, 5), 1), ((1, 1, 11, 11), 0), ((1, 1, 1, 3), 0)]
)
def test_gradients_of_filters_are_those_of_a_convolution(
    shape: tuple[int, ...], padding: int
) -> None:
    random = torch.Generator().manual_seed(0)
    image = torch.rand(2, 1, 14, 13, generator=random, dtype=torch.float64, requires_grad=True)
    kernel = torch.rand(shape, generator=random, dtype=torch.float64)
    ours, theirs = convolve(image, kernel, padding), F.conv2d(image, kernel, padding=padding)
    assert torch.equal(ours, theirs)
    along = torch.rand(ours.shape, generator=random, dtype=torch.float64)
    found = [torch.autograd.grad(x, image, along)[0] for x in (ours, theirs)]
    torch.testing.assert_close(*found)
    assert torch.autograd.gradgradcheck(lambda x: convolve(x, kernel, padding), image)
    learned = kernel.requires_grad_()
    assert torch.autograd.grad(convolve(image, learned, padding).sum(), learned)[0].any()
