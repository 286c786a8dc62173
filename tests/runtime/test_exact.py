"""The fast form gives what the plain graph gives, in a fraction of its memory."""

from functools import cache
from typing import Any

import numba
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from released import released_model
from torch import Tensor

from benchmarks.plain import plain
from cddfuse.models.cddfuse import CDDFuse, Residual
from cddfuse.runtime.cddfuse import (
    cpu_layers,
    depthwise,
    kernels,
    products,
    torch_layers,
    winograd,
)
from cddfuse.runtime.cddfuse.exact import Fast
from cddfuse.runtime.cddfuse.winograd import PAIRS
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
    assert torch.equal(three, one)


def test_images_leave_nothing_in_memory_that_others_get_again() -> None:
    model, sizes = released_model(), [(24, 30), (20, 31), (40, 30), (24, 30)]
    fast, places, maps = Fast(model), set[int](), list[Tensor]()
    for size in sizes:
        pair = images(*size)
        fused = fast(*pair, maps=maps)
        torch.testing.assert_close(fused, expected(model, *pair), atol=1e-5, rtol=0)
        places.add(maps[0].data_ptr())
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


def called(part: Any, *arguments: Any) -> None:
    """Call a part of kernels, which only compiled functions can."""
    caller(part)(*arguments)


@cache
def caller(part: Any) -> Any:
    def call(*arguments: Any) -> None:
        part(*arguments)

    return numba.njit(call)


def filled(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("count", [1, 3, 4, 5, 6, 7, 10, 13])
def test_products_are_right_for_every_count(count: int) -> None:
    x, matrix, out = filled(count, 12), filled(7, 20), np.full((count + 1, 32), 9, np.float32)
    called(products.multiply, x, 3, products.panels(matrix), out, count)
    np.testing.assert_allclose(out[:-1, :20], x[:, 3:10] @ matrix, atol=1e-5)
    assert (out[:-1, 20:] == 0).all()
    assert (out[-1] == 9).all()


@pytest.mark.parametrize("count", [2, 6, 9])
def test_products_of_three_rows_are_a_convolution(count: int) -> None:
    rows, weight = filled(3, count + 2, 5), torch.from_numpy(filled(16, 5, 3, 3))
    out = np.empty((count, 16), np.float32)
    called(
        products.multiply_three, rows[0], rows[1], rows[2], cpu_layers.kernel(weight), out, count
    )
    image = torch.from_numpy(rows).permute(2, 0, 1)[None]
    expected = torch.nn.functional.conv2d(image, weight)[0, :, 0].t()
    torch.testing.assert_close(torch.from_numpy(out), expected, atol=1e-5, rtol=0)


def test_products_of_heads() -> None:
    x, out = filled(9, 32), np.empty((2, 8, 8), np.float32)
    called(products.squares_of_heads, x, 7, out)
    query, key = x[:7].reshape(7, 2, 2, 8).transpose(1, 2, 0, 3)
    np.testing.assert_allclose(out, query.swapaxes(1, 2) @ key, atol=1e-5)


def conv2d(rows: Array, weight: Array, groups: int = 1) -> Array:
    """Of rows (rows, columns, channels), without what lies at their edges."""
    image = torch.from_numpy(rows).permute(2, 0, 1)[None].double()
    result = torch.nn.functional.conv2d(image, torch.from_numpy(weight).double(), groups=groups)
    return result[0].permute(1, 2, 0).float().numpy()


@pytest.mark.parametrize(("inputs", "outputs"), [(5, 32), (64, 16)])
def test_a_convolution_with_few_multiplications_is_one(inputs: int, outputs: int) -> None:
    rows, weight = filled(2 * PAIRS + 2, 12, inputs), filled(outputs, inputs, 3, 3)
    spread, parts = (np.empty((4, PAIRS, 5, size), np.float32) for size in (inputs, outputs))
    out = np.full((PAIRS, 2, 10, outputs), np.nan, np.float32)
    matrices = cpu_layers.transformed(torch.from_numpy(weight))
    called(winograd.convolve_rows, rows, matrices, spread, parts, out)
    np.testing.assert_allclose(out.reshape(-1, 10, outputs), conv2d(rows, weight), atol=1e-4)


@pytest.mark.parametrize("limited", [False, True])
def test_depthwise_convolution(*, limited: bool) -> None:
    rows, weight = 3 * filled(3, 9, 32), filled(24, 1, 3, 3)
    out = np.full((7, 40), 9, np.float32)
    by_lanes = depthwise.lanes(weight.reshape(24, 9).T)
    called(depthwise.depthwise_row, rows[0], rows[1], rows[2], by_lanes, limited, out)
    expected = conv2d(np.ascontiguousarray(rows[..., :24]), weight, groups=24)[0]
    if limited:
        expected = expected.clip(0, 6)
    np.testing.assert_allclose(out[:, :24], expected, atol=1e-5)
    assert (out[:, 24:] == 9).all()


@pytest.mark.parametrize("inputs", [1, 2])
def test_gate_of_groups(inputs: int) -> None:
    """Of two halves, the first of which opens the second one."""
    half, blocks = 16 * inputs, 2
    rows, weight = filled(3, 9, 2 * half + 3), filled(2 * half, inputs, 3, 3)
    sorted_weight = weight.reshape(2, blocks, 8, inputs, inputs, 9).transpose(0, 3, 1, 4, 5, 2)
    sorted_weight = np.ascontiguousarray(sorted_weight)
    out, room = np.full((7, half + 5), 9, np.float32), np.empty((7, 8), np.float32)
    called(depthwise.gate_row, rows[0], rows[1], rows[2], sorted_weight, room, out)
    # The first channels of all groups lie before the second ones.
    order = np.arange(2 * half).reshape(2, inputs, -1).swapaxes(1, 2).ravel()
    convolved = conv2d(np.ascontiguousarray(rows[..., order]), weight, groups=2 * half // inputs)
    opening, value = torch.from_numpy(convolved[0]).split(half, dim=1)
    expected = (torch.nn.functional.gelu(opening) * value).numpy()
    back = np.arange(half).reshape(-1, inputs).swapaxes(0, 1).ravel()
    np.testing.assert_allclose(out[:, :half], expected[:, back], atol=1e-4)
    assert (out[:, half:] == 9).all()


def test_gelu_is_right_over_its_whole_range() -> None:
    values = torch.linspace(-9, 9, 4000)
    values[7] = torch.nan
    rows = np.zeros((3, 4002, 16), np.float32)
    rows[1, 1:-1, :8], rows[1, 1:-1, 8:] = values[:, None], 1
    weight = np.zeros((2, 1, 1, 1, 9, 8), np.float32)
    weight[..., 4, :] = 1
    out = np.empty((4000, 8), np.float32)
    called(
        depthwise.gate_row, rows[0], rows[1], rows[2], weight, np.empty((4000, 8), np.float32), out
    )
    expected = torch.nn.functional.gelu(values)[:, None].expand(-1, 8)
    assert np.isnan(out[7]).all()
    out[6:9] = expected[6:9]  # what is not a number reaches its neighbours
    torch.testing.assert_close(torch.from_numpy(out), expected, atol=2e-6, rtol=0, equal_nan=True)


def test_exponentials_are_right() -> None:
    values = np.linspace(-87, 88, 100_000, dtype=np.float32)
    one, out = np.ones((len(values), 1), np.float32), np.empty((len(values), 2), np.float32)
    called(kernels._couple, np.hstack([one, one]), 0, len(values), values[:, None], 0 * one, out)
    np.testing.assert_allclose(out[:, 0], np.exp(values.astype(float)), rtol=3e-7)


def test_kernels_are_compiled_for_what_they_are_called_with() -> None:
    """Else a first run would compile them twice."""
    Fast(released_model(), 20)(*images(20, 24))
    for name, signature in kernels.SIGNATURES.items():
        assert getattr(kernels, name).signatures == [signature], name


def test_without_numba_it_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model, pair = released_model(), images(30, 41)
    with_numba = Fast(model, 20)(*pair)
    monkeypatch.setattr("cddfuse.runtime.cddfuse.exact._form", lambda device: torch_layers)
    torch.testing.assert_close(Fast(model, 20)(*pair), with_numba, atol=1e-5, rtol=0)
