"""What does not fit the memory is fused in tiles, which do not show."""

import logging
from typing import Any
from weakref import ReferenceType, ref

import pytest
import torch
from released import released_model
from torch import Tensor

from cddfuse import runtime
from cddfuse.errors import InputError
from cddfuse.models import Card, FusionModel
from cddfuse.models.cddfuse import CDDFuse
from cddfuse.runtime import Limits, run
from cddfuse.runtime.cddfuse import sampled
from cddfuse.runtime.cddfuse.exact import Fast
from cddfuse.runtime.patches import patches


def images(height: int, width: int) -> tuple[Tensor, Tensor]:
    first, second = torch.rand(2, 1, 1, height, width, generator=torch.Generator().manual_seed(3))
    return first, second


def whole(first: Tensor, second: Tensor, side: int) -> sampled.Sample:
    return sampled.Sample(first, second, patches(first.shape[-2], first.shape[-1], 64, 64))


def test_tiles_with_given_matrices_join_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    fast, pair = Fast(released_model()), images(150, 130)
    monkeypatch.setattr(sampled, "sample", whole)
    fused = sampled.fuse_sampled(fast, *pair, 64, 64)
    torch.testing.assert_close(fused, fast(*pair), atol=1e-6, rtol=0)


def test_a_halo_that_is_too_small_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    fast, pair = Fast(released_model()), images(150, 130)
    monkeypatch.setattr(sampled, "sample", whole)
    monkeypatch.setattr(sampled, "HALO", 8)
    assert (sampled.fuse_sampled(fast, *pair, 64, 64) - fast(*pair)).abs().max() > 1e-4


def test_a_sample_is_made_of_pieces_from_all_over_the_image() -> None:
    first = torch.arange(600.0 * 900).reshape(1, 1, 600, 900)
    one, two, counted = sampled.sample(first, -first, 300)
    assert one.shape[-2:] == (4 * 64, 4 * 64)
    assert torch.equal(two, -one)
    assert one.min() == 0
    assert one.max() == first.max()
    assert len(counted) == 16
    assert counted[0] == (0, 0, 56, 56)  # the image itself ends above and left
    assert counted[5] == (72, 72, 120, 120)
    assert counted[15] == (200, 200, 256, 256)
    entire = sampled.sample(first, -first, 1000)
    assert torch.equal(entire.first, first)
    assert entire.counted == [(0, 0, 600, 900)]


class Echo(FusionModel):
    """Gives an image back, and keeps the sizes it saw."""

    card = Card(name="echo", paper="https://example.org", multiple_of=16)

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Size] = []

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        self.seen.append(first.shape[-2:])
        return first


class Uneven(Echo):
    """Adds something else in every tile."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return super().forward(first, second) + len(self.seen) % 2


@pytest.mark.parametrize("size", [(200, 300), (64, 500), (97, 201)], ids=str)
def test_tiles_of_any_network_blend_to_the_whole(size: tuple[int, int]) -> None:
    model, pair = Echo(), images(*size)
    torch.testing.assert_close(run(model, *pair, Limits(tile=64)), pair[0])
    assert len(model.seen) > 2
    assert all(height % 16 == 0 and width % 16 == 0 for height, width in model.seen)


def test_what_differs_between_tiles_fades() -> None:
    pair = (torch.zeros(1, 1, 64, 400), torch.zeros(1, 1, 64, 400))
    fused = run(Uneven(), *pair, Limits(tile=128))
    assert fused.diff(dim=-1).abs().max() < 0.05
    assert fused.max() - fused.min() > 0.9


class Local(Echo):
    """Looks three pixels far."""

    card = Card(name="local", paper="https://example.org", multiple_of=4, receptive_radius=3)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        padded = torch.nn.functional.pad(super().forward(first, second), (3, 3, 3, 3))
        return torch.nn.functional.avg_pool2d(padded, 7, stride=1)


def test_tiles_of_a_network_that_looks_a_known_distance_join_exactly() -> None:
    model, pair = Local(), images(150, 203)
    torch.testing.assert_close(run(model, *pair, Limits(tile=64)), run(model, *pair))
    model.seen.clear()
    run(model, *pair, Limits(tile=64))
    assert len(model.seen) == 3 * 4
    assert max(model.seen[0]) <= 64 + 3 + 4


@pytest.mark.parametrize(
    ("tile", "room", "side"),
    [(2000, 2054, 2054), (256, 5000, 1024), (256, 700, 700), (128, 5000, 512), (64, 100, 512)],
)
def test_the_sample_is_large_if_it_fits(tile: int, room: int, side: int) -> None:
    assert sampled.sample_side(tile, room) == side


def test_little_memory_means_tiles(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampled, "_SAMPLE", 64)
    model, pair = released_model(), images(150, 140)
    whole = run(model, *pair)
    with caplog.at_level(logging.INFO, "cddfuse.runtime"):
        fused = run(model, *pair, Limits(memory=15_000_000))
    assert "140 x 150 pixels need 0.0 GB, of 0.0: tiles of 64 pixels" in caplog.text
    assert (fused - whole).abs().mean() < 0.01
    assert not torch.equal(fused, whole)


def test_bf16_is_near() -> None:
    model, pair = released_model(), images(40, 40)
    fused = run(model, *pair, Limits(precision="bf16"))
    assert fused.dtype == torch.float32
    difference = (fused - run(model, *pair)).abs()
    assert 1e-5 < difference.max() < 0.1


class Full(Echo):
    """Has room for small images only."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        if first.shape[-1] > 150:
            raise torch.OutOfMemoryError
        return super().forward(first, second)


def test_out_of_memory_goes_on_in_tiles_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    pair = images(160, 320)
    torch.testing.assert_close(run(Full(), *pair), pair[0])
    assert "out of memory: going on tiles of 160 pixels" in caplog.text
    assert "out of memory: going on tiles of 80 pixels" in caplog.text


def test_what_an_attempt_had_in_memory_is_gone_before_the_next() -> None:
    had: list[ReferenceType[Tensor]] = []

    class Leaky(Full):
        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            assert all(reference() is None for reference in had)
            maps = first + second
            had.append(ref(maps))
            return super().forward(first, maps - first)

    run(Leaky(), *images(160, 320))
    assert len(had) > 2


def test_after_patches_tiles_are_smaller_than_the_image(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*anything: object, **more: object) -> Tensor:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Fast, "__call__", full)
    with pytest.raises(torch.OutOfMemoryError):
        run(CDDFuse(), *images(100, 260))
    assert "tiles of 130 pixels" in caplog.text
    assert caplog.text.count("going on") == 2  # and 65


def test_no_room_at_all_is_the_error_of_the_last_try(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*anything: object, **more: object) -> Tensor:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Fast, "__call__", full)
    with pytest.raises(torch.OutOfMemoryError):
        run(CDDFuse(), *images(100, 200))


@pytest.mark.parametrize("wrong", [{"tile": -1}, {"tile": 20}, {"memory": -5}], ids=str)
def test_limits_must_make_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"too small|must be positive"):
        Limits(**wrong)


def test_a_batch_is_fused_image_by_image() -> None:
    model = released_model()
    first, second = torch.rand(2, 3, 1, 20, 24, generator=torch.Generator().manual_seed(1))
    fused = run(model, first, second)
    for index in range(3):
        one = run(model, first[index : index + 1], second[index : index + 1])
        assert torch.equal(fused[index : index + 1], one)
    assert runtime.Limits() == Limits()


@pytest.mark.parametrize("limits", [{}, {"tile": 64}], ids=["patches", "tiles"])
def test_progress_is_told_and_ends_at_one(limits: dict[str, Any]) -> None:
    told = list[float]()
    run(released_model(), *images(70, 90), Limits(**limits, progress=told.append))
    assert told == sorted(told)
    assert len(told) > 40
    assert told[-1] == pytest.approx(1)
