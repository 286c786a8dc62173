"""The fast form gives what the plain graph gives, in a fraction of its memory."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from released import released_model
from torch import Tensor

from benchmarks.plain import plain
from cddfuse.models.cddfuse import CDDFuse, Residual
from cddfuse.runtime.exact import Fast, patches
from cddfuse.runtime.loops import _TORCH, loops


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


def test_rows_that_come_in_several_steps_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    model, pair = released_model(), images(30, 25)
    whole = Fast(model)(*pair)
    monkeypatch.setattr("cddfuse.runtime.exact._CACHE", 1)
    torch.testing.assert_close(Fast(model)(*pair), whole, atol=1e-5, rtol=0)


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


def test_ablations_and_other_precisions_have_no_fast_form() -> None:
    assert Fast.suits(CDDFuse())
    for model in (CDDFuse(base="invertible"), CDDFuse(detail="transformer"), CDDFuse().double()):
        assert not Fast.suits(model)


def test_patches_cover_every_pixel_once() -> None:
    seen = torch.zeros(50, 31)
    for patch in patches(50, 31, 12):
        patch.of(seen).add_(1)
        assert max(patch.of(seen).shape) <= 12
    assert (seen == 1).all()


def filled(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


CASES: dict[str, tuple[tuple[Any, ...], tuple[int, ...]]] = {
    "norm": ((filled(5, 6, 64), -1, -2, filled(64), filled(64) + 1), (4, 9, 64)),
    "load": ((filled(5, 6, 8), -1, 3, False), (7, 4, 8)),
    "load mirrored": ((filled(5, 6, 8), -1, 3, True), (7, 4, 8)),
    "bend": ((4 * filled(16), 9), (30, 16)),
    "couple": ((filled(7, 8, 16), 2, 1, filled(5, 6, 8), filled(5, 6, 8) + 1), (5, 6, 16)),
    "put": ((filled(2, 3, 16), filled(5, 6, 16), 1, 2, False, False), (5, 6, 16)),
    "put added": ((filled(2, 3, 16), filled(5, 6, 16), 1, 2, False, True), (5, 6, 16)),
    "put shortcut": ((filled(2, 3, 16), filled(5, 6, 16), 1, 2, True, False), (5, 6, 16)),
    "put shortcut added": ((filled(2, 3, 16), filled(5, 6, 16), 1, 2, True, True), (5, 6, 16)),
    "depthwise": ((filled(7, 8, 16), filled(9, 16)), (5, 6, 16)),
    "depthwise_relu6": ((4 * filled(7, 8, 16), filled(9, 16)), (5, 6, 16)),
    "gate": ((filled(7, 8, 2, 16), filled(9, 2, 16)), (5, 6, 16)),
    "gate_pairs": ((filled(7, 8, 2, 2, 8), filled(9, 2, 2, 2, 8)), (5, 6, 2, 8)),
    "add_squares": ((filled(30, 16),), (16,)),
}


@pytest.mark.parametrize("name", CASES)
def test_compiled_loops_equal_those_in_pytorch(name: str) -> None:
    arguments, shape = CASES[name]
    results = []
    for kind in (loops("cpu"), _TORCH):
        out = torch.ones(shape)
        work: Callable[..., None] = getattr(kind, name.split()[0])
        work(*(deepcopy(argument) for argument in arguments), out)
        results.append(out)
    torch.testing.assert_close(*results, atol=2e-5, rtol=1e-5)


def test_compiled_loops_know_gelu_over_its_whole_range() -> None:
    values = torch.linspace(-9, 9, 4000)
    x = torch.zeros(3, 3, 2, 4000)
    x[1, 1, 0], x[1, 1, 1] = values, 1
    weight = torch.zeros(9, 2, 4000)
    weight[4] = 1
    out = torch.empty(1, 1, 4000)
    loops("cpu").gate(x, weight, out)
    torch.testing.assert_close(out[0, 0], torch.nn.functional.gelu(values), atol=2e-6, rtol=0)


def test_without_numba_it_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model, pair = released_model(), images(30, 41)
    compiled = Fast(model, 20)(*pair)
    monkeypatch.setattr("cddfuse.runtime.exact.loops", lambda device: _TORCH)
    torch.testing.assert_close(Fast(model, 20)(*pair), compiled, atol=1e-5, rtol=0)
