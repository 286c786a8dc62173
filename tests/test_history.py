"""Clips do not flicker: statistics, ranges and pixels at rest are smoothed over time."""

import sys

import pytest
import torch
from released import released_model
from torch import Tensor

from cddfuse.errors import InputError
from cddfuse.fuse import fuse
from cddfuse.history import History, _spread, steady
from cddfuse.models import Card, FusionModel, create_model
from cddfuse.models.cddfuse import CDDFuse
from cddfuse.pair import ImagePair


def scene(seed: int, size: int = 32) -> Tensor:
    """A smooth random image (1, H, W)."""
    coarse = torch.rand(1, 1, 4, 4, generator=torch.manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear")[0]


class Levelled(FusionModel):
    """Adds the mean of the second image, a statistic of all its pixels, to the first."""

    card = Card(name="levelled", paper="https://example.org", bytes_per_pixel=12)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Half of each."""
        return first / 2 + steady(second.mean().reshape(1)) / 2


def means(seconds: list[float], history: History | None, *, first: int = 0) -> list[float]:
    """The mean of the results, where the second image is one even grey and the first stays."""
    found = []
    for level in seconds:
        pair = ImagePair(scene(first), torch.full((1, 32, 32), level))
        if history is None:
            found.append(fuse(Levelled(), pair).mean().item())
        else:
            with history.frame():
                found.append(fuse(Levelled(), pair).mean().item())
    return [value - scene(first).mean().item() / 2 for value in found]


def test_statistics_follow_with_the_time_constant() -> None:
    assert means([0.0, 0.5, 1.0], None) == pytest.approx([0, 0.25, 0.5], abs=1e-6)
    assert means([0.0, 0.5, 1.0], History(4)) == pytest.approx([0, 0.0625, 0.171875], abs=1e-6)


def test_a_frame_that_fails_does_not_count() -> None:
    history = History(4)
    before = means([0.0], history)
    failing = ImagePair(scene(0), torch.full((1, 32, 32), torch.nan))
    with pytest.raises(InputError), history.frame():
        fuse(Levelled(), failing)
    assert means([0.0], history) == pytest.approx(before, abs=1e-6)


def test_a_new_shot_starts_afresh() -> None:
    history = History(30)
    for seed in (1, 2):
        pair = ImagePair(scene(seed), 1 - scene(seed + 10))
        with history.frame():
            fused = fuse(Levelled(), pair)
        assert torch.equal(fused, fuse(Levelled(), pair))


def test_pixels_at_rest_are_averaged_and_moving_ones_are_not() -> None:
    history, still = History(), scene(3, 64)
    results, last = [], torch.zeros(0)
    for number in range(30):
        noise = torch.randn(1, 64, 64, generator=torch.manual_seed(number)) / 255
        first = (still * 0.5 + 0.2 + noise).clamp(0, 1)
        first[:, 20:30, number : number + 10] = 1  # a body that moves
        pair = ImagePair(first, first.flip(-1))
        with history.frame():
            results.append(fuse(Levelled(), pair))
        last = fuse(Levelled(), pair)
    rest = torch.stack(results)[10:, 0, 45:, 45:]
    assert rest.std(0).mean() < 0.6 * 0.5 / 255  # the network halves the noise of the first image
    body = results[-1][0, 20:30, 29:39] - last[0, 20:30, 29:39]
    assert body.abs().max() < 1 / 255


@pytest.mark.parametrize(("levels", "kept", "left"), [(6, 0.87, 0.24), (10, 0.95, 0.1)])
def test_a_faint_target_that_moves_is_kept(levels: int, kept: float, left: float) -> None:
    """A pixel a frame, under noise: its contrast, and what remains where it was, as shares."""
    random, history = torch.Generator().manual_seed(1), History()

    def noisy() -> Tensor:
        return (100 + torch.randn(1, 1, 60, 80, generator=random)) / 255

    for place in range(20, 40):
        first, second = noisy(), noisy()
        second[..., 24:36, place : place + 6] += levels / 255
        with history.frame():
            history.begin(first, second)
            contrast = (255 * history.settled(first, second, second) - 100) / levels
    assert contrast[..., 24:36, 39:45].mean() > kept
    assert abs(contrast[..., 24:36, 36:39].mean()) < left


def test_stretch_moves_slowly() -> None:
    history = History()
    even = ImagePair(scene(0), torch.full((1, 32, 32), 0.4))
    spark = ImagePair(scene(0).clone(), torch.full((1, 32, 32), 0.4))
    spark.first[0, 0, 0] = 1
    frames = []
    for pair in (even, spark):
        with history.frame():
            frames.append(fuse(Levelled(), pair, stretch=True))
    alone = fuse(Levelled(), spark, stretch=True)
    rest = (..., slice(8, None), slice(8, None))
    assert (alone[rest] - frames[0][rest]).abs().max() > 0.03
    assert (frames[1][rest] - frames[0][rest]).abs().max() <= 0.0101


@pytest.mark.parametrize("fast", [True, False])
def test_attention_of_cddfuse_is_smoothed(fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hot body in one corner does not change the others, in both forms of the network."""
    if not fast:
        monkeypatch.setattr(sys.modules["cddfuse.runtime.run"], "FAST_FORMS", {})
    model: CDDFuse = released_model()
    cold = ImagePair(scene(1, 64), scene(2, 64) / 2)
    hot = ImagePair(cold.first, cold.second.clone())
    hot.second[:, :24, :24] = 1
    far = (..., slice(56, None), slice(56, None))  # beyond what the network sees locally
    alone = (fuse(model, hot)[far] - fuse(model, cold)[far]).abs().max()
    history, steps = History(30), []
    for pair in (cold, hot):
        with history.frame():
            steps.append(fuse(model, pair)[far])
    together = (steps[1] - steps[0]).abs().max()
    assert alone > 0
    assert together < alone / 10


def test_time_constant_of_no_frames_is_refused() -> None:
    with pytest.raises(InputError, match="0 frames"):
        History(0)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (40, 33)])
def test_motion_counts_for_all_within_three_pixels(size: tuple[int, int]) -> None:
    values = torch.rand(2, 1, *size, generator=torch.manual_seed(0))
    assert torch.equal(_spread(values), torch.nn.functional.max_pool2d(values, 7, 1, 3))


def test_channels_fused_one_by_one_have_statistics_of_their_own() -> None:
    history = History()
    shades = torch.tensor([0.9, 0.5, 0.1])[:, None, None]
    pair = ImagePair(shades * scene(1), scene(2))
    for model in (Levelled(), create_model("cddfuse_small")):
        alone = fuse(model, pair, colour="per-channel")
        for _ in range(3):
            with history.frame():
                fused = fuse(model, pair, colour="per-channel")
        torch.testing.assert_close(fused, alone, atol=1e-6, rtol=0)
        history = History()


def test_statistics_in_half_precision_arrive() -> None:
    history, value = History(30), torch.ones(1, dtype=torch.bfloat16)
    for level in [1.0] + 400 * [1.0625]:
        with history.frame():
            value = history.smoothed(torch.full((1,), level, dtype=torch.bfloat16))
    assert value.dtype == torch.bfloat16
    assert value.item() == 1.0625
