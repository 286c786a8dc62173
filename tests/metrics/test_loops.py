"""Compiled loops find what their definitions in PyTorch find."""

import math
import sys
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from cddfuse import metrics
from cddfuse.metrics import METRICS, score
from cddfuse.metrics.loops import _kernels, loops, of_each
from cddfuse.metrics.moments import scatter
from cddfuse.threads import single_threaded

USERS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "edges": metrics.edge_preservation,
    "edges folded": lambda *images: metrics.edge_preservation(*images, fold=True),
    "steps": lambda fused, *_: metrics.spatial_frequency(fused),
    "deviation": lambda fused, *_: metrics.standard_deviation(fused),
    "scatter": scatter,
    "levels": lambda fused, *_: metrics.entropy(fused.round()),
    "windows": lambda *images: metrics.feature_mutual_information(
        images[0], torch.stack(images[1:])
    ),
    "pairs": lambda *images: metrics.mutual_information(images[0], torch.stack(images[1:])),
}


@pytest.fixture
def without_numba(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "cddfuse.metrics.kernels", None)
    monkeypatch.delattr(metrics, "kernels", raising=False)
    _kernels.cache_clear()
    yield
    _kernels.cache_clear()


def pictures(height: int, width: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Whole levels, with flat parts and with parts that are alike."""
    shape = (3, 2, 1, height, width)
    images = torch.randint(0, 256, shape, generator=torch.manual_seed(height)).to(dtype)
    images[0, :, :, : height // 2] = images[1, :, :, : height // 2]
    images[:, 0, :, :, : width // 3] = 70
    images[2, 1] = images[2, 1, :, :, :1]  # every edge of it is level
    return list(images)


@pytest.mark.parametrize("shape", [(1, 9), (9, 1), (2, 2), (5, 3), (67, 131)], ids=str)
@pytest.mark.parametrize("user", USERS)
def test_same_as_in_torch(
    user: str, shape: tuple[int, int], request: pytest.FixtureRequest
) -> None:
    if user == "windows" and min(shape) < 3:
        pytest.skip("no windows")
    images = pictures(*shape)
    assert loops(*images)
    found = USERS[user](*images)
    request.getfixturevalue("without_numba")
    assert not loops(*images)
    expected = USERS[user](*images)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-9, equal_nan=True)


@pytest.mark.usefixtures("without_numba")
def test_the_paper_eight_without_numba(scene: tuple[Tensor, Tensor, Tensor]) -> None:
    # as in test_records.py
    fused, first, second = (image / 255 for image in scene)
    values = score(fused, first, second)
    assert values["Qabf"].item() == pytest.approx(0.5616081357002258, rel=3e-7)
    assert values["SF"].item() == pytest.approx(14.91992473602295, rel=3e-7)


def test_a_derivative_goes_the_way_of_torch() -> None:
    images = pictures(20, 20)
    plain = metrics.edge_preservation(*images)
    assert not loops(images[0].clone().requires_grad_())
    with_gradient = metrics.edge_preservation(images[0].clone().requires_grad_(), *images[1:])
    assert with_gradient.requires_grad
    torch.testing.assert_close(with_gradient.detach(), plain, rtol=1e-10, atol=0)


def test_levels_beyond_255_wrap_as_in_8_bit() -> None:
    # and reach no memory that is not theirs
    image = torch.tensor([[[[-1.0, 255, 256, 0]]]])
    assert metrics.entropy(image).item() == 1
    assert metrics.mutual_information(image, image).item() == pytest.approx(math.log(2))


def test_images_are_broadcast_and_may_lie_anywhere() -> None:
    fused, first, second = pictures(12, 8)
    sources = torch.stack([first, second])
    together = of_each(_products(), fused.mT, sources.mT)
    assert together.shape == (2, 2, 3)
    for place in ((0, 1), (1, 0)):
        alone = of_each(_products(), fused[place[1]].mT[None], sources[place].mT[None])
        assert torch.equal(together[place], alone[0])
    spread = single_threaded(lambda: of_each(_products(), fused.mT, sources.mT))
    assert torch.equal(spread(), together)


def _products() -> Callable[..., object]:
    kernels = loops()
    assert kernels
    return kernels.products


def test_qabf_is_that_of_double_precision() -> None:
    images = [image / 255 for image in pictures(67, 131, torch.float32)]
    single = METRICS["Qabf"](*images)
    levels = [(image.double() * 255).round() for image in images]
    torch.testing.assert_close(single, metrics.edge_preservation(*levels), rtol=1e-14, atol=0)
