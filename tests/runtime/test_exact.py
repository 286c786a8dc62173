"""The fast form gives what the plain graph gives, in a fraction of its memory."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from released import released_model
from torch import Tensor

from benchmarks.plain import plain
from cddfuse.models.cddfuse import CDDFuse, Residual
from cddfuse.runtime import compiled, kernels, products, windows
from cddfuse.runtime.exact import Fast
from cddfuse.runtime.patches import patches

Array = NDArray[np.float32]


def images(height: int, width: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(height * width)
    first, second = torch.rand(2, 1, 1, height, width, generator=generator)
    return first, (second + first.roll(3, -1)) / 2


def expected(model: CDDFuse, first: Tensor, second: Tensor) -> Tensor:
    with torch.inference_mode():
        return plain(model)(first, second)


@pytest.mark.parametrize("size", [(8, 8), (8, 61), (53, 9), (47, 50), (33, 64)], ids=str)
def test_every_size_equals_the_plain_graph(size: tuple[int, int]) -> None:
    model, pair = released_model(), images(*size)
    fused = Fast(model, side=24)(*pair)
    torch.testing.assert_close(fused, expected(model, *pair), atol=1e-5, rtol=0)


@pytest.mark.parametrize("residual", ["first", "sum", "none"])
def test_every_residual_equals_the_plain_graph(residual: Residual) -> None:
    model, pair = released_model(residual), images(20, 30)
    torch.testing.assert_close(Fast(model)(*pair), expected(model, *pair), atol=1e-5, rtol=0)


@pytest.mark.parametrize("side", [8, 17, 40, 1000])
def test_the_cut_into_patches_does_not_matter(side: int) -> None:
    model, pair = released_model(), images(41, 70)
    torch.testing.assert_close(Fast(model, side)(*pair), Fast(model, 31)(*pair), atol=1e-5, rtol=0)


def test_threads_do_not_matter() -> None:
    model, pair = released_model(), images(60, 70)
    alone, threads = Fast(model, 16), torch.get_num_threads()
    torch.set_num_threads(1)
    one = alone(*pair)
    torch.set_num_threads(3)
    try:
        three = alone(*pair)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(three, one, atol=1e-6, rtol=0)


def test_images_leave_nothing_in_memory_that_others_get_again() -> None:
    model, sizes = released_model(), [(24, 30), (20, 31), (40, 30), (24, 30)]
    fast, places = Fast(model), set[int]()
    for size in sizes:
        pair = images(*size)
        torch.testing.assert_close(fast(*pair), expected(model, *pair), atol=1e-5, rtol=0)
        places.add(fast._maps(pair[0])[0].data_ptr())
    assert len(places) <= 2  # new ones for the largest only


def test_flat_images_give_numbers() -> None:
    pair = (torch.zeros(1, 1, 20, 20), torch.zeros(1, 1, 20, 20))
    model = released_model()
    torch.testing.assert_close(Fast(model)(*pair), expected(model, *pair), atol=1e-5, rtol=0)


def test_given_matrices_take_the_place_of_the_pairs_own() -> None:
    model, pair, other = released_model(), images(24, 30), images(30, 24)
    fast, found = Fast(model), list[Tensor]()
    whole = fast(*pair, found=found)
    assert len(found) == 4 + 1 + 4 + 1 + 1 + 4
    assert torch.equal(fast(*pair, given=found), whole)
    foreign = list[Tensor]()
    fast(*other, found=foreign)
    assert (fast(*pair, given=foreign) - whole).abs().max() > 1e-4


def test_sums_may_be_taken_from_parts_of_an_image() -> None:
    model, pair = released_model(), images(24, 30)
    fast, everywhere, halves, corner = Fast(model), *(list[Tensor]() for _ in range(3))
    fast(*pair, found=everywhere)
    fast(*pair, found=halves, counted=patches(24, 30, 12, 30))
    fast(*pair, found=corner, counted=patches(24, 30, 12, 15)[:1])
    torch.testing.assert_close(halves, everywhere, atol=1e-5, rtol=0)
    assert (corner[0] - everywhere[0]).abs().max() > 1e-4


def test_ablations_and_other_precisions_have_no_fast_form() -> None:
    assert Fast.suits(CDDFuse())
    for model in (CDDFuse(base="invertible"), CDDFuse(detail="transformer"), CDDFuse().double()):
        assert not Fast.suits(model)


def test_patches_cover_every_pixel_once() -> None:
    seen = torch.zeros(50, 31)
    for patch in patches(50, 31, 12, 7):
        patch.of(seen).add_(1)
        rows, columns = patch.of(seen).shape
        assert rows <= 12
        assert columns <= 7
    assert (seen == 1).all()


def filled(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("count", [1, 5, 6, 7, 13])
def test_products_are_right_for_every_count(count: int) -> None:
    x, matrix, out = filled(count, 12), filled(7, 20), np.full((count + 1, 32), 9, np.float32)
    products.multiply(x, 3, products.panels(matrix), out, count)
    np.testing.assert_allclose(out[:-1, :20], x[:, 3:10] @ matrix, atol=1e-5)
    assert (out[:-1, 20:] == 0).all()
    assert (out[-1] == 9).all()


@pytest.mark.parametrize("count", [2, 6, 9])
def test_products_of_three_rows_are_a_convolution(count: int) -> None:
    rows, weight = filled(3, count + 2, 5), torch.from_numpy(filled(16, 5, 3, 3))
    out = np.empty((count, 16), np.float32)
    products.multiply_three(rows[0], rows[1], rows[2], compiled.kernel(weight), out, count)
    image = torch.from_numpy(rows).permute(2, 0, 1)[None]
    expected = torch.nn.functional.conv2d(image, weight)[0, :, 0].t()
    torch.testing.assert_close(torch.from_numpy(out), expected, atol=1e-5, rtol=0)


def test_products_of_heads() -> None:
    x, out = filled(9, 32), np.empty((2, 8, 8), np.float32)
    products.squares_of_heads(x, 7, out)
    query, key = x[:7].reshape(7, 2, 2, 8).transpose(1, 2, 0, 3)
    np.testing.assert_allclose(out, query.swapaxes(1, 2) @ key, atol=1e-5)


def test_gelu_is_right_over_its_whole_range() -> None:
    values = torch.linspace(-9, 9, 4000)
    rows = np.zeros((3, 4, 8000), np.float32)
    rows[1, 1, :4000], rows[1, 1, 4000:] = values, 1
    weight, out = np.zeros((9, 2, 4000), np.float32), np.empty((2, 4000), np.float32)
    weight[4] = 1
    kernels.gate_row(rows[0], rows[1], rows[2], weight, out)
    expected = torch.nn.functional.gelu(values)
    torch.testing.assert_close(torch.from_numpy(out[0]), expected, atol=2e-6, rtol=0)


def test_without_numba_it_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model, pair = released_model(), images(30, 41)
    with_numba = Fast(model, 20)(*pair)
    monkeypatch.setattr("cddfuse.runtime.exact._form", lambda device: windows)
    torch.testing.assert_close(Fast(model, 20)(*pair), with_numba, atol=1e-5, rtol=0)
