"""Training crops: where they lie, which count, and that any step can be drawn again."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cddfuse.datasets.crops import Crops, Share, contrast, grid_contrast
from cddfuse.errors import InputError
from cddfuse.pair import ImagePair


def numbered(height: int, width: int, name: str = "a", start: int = 0) -> ImagePair:
    """Every pixel of the first image is different, and 1000 below that of the second."""
    first = torch.arange(start, start + height * width).float().reshape(1, height, width)
    return ImagePair(first, first + 1000, name)


def corners(crops: Crops, width: int, epoch: int = 0) -> list[tuple[int, int]]:
    """Where the crops of an epoch lie in a numbered image."""
    steps = range(epoch * crops.steps_per_epoch, (epoch + 1) * crops.steps_per_epoch)
    firsts = torch.cat([crops.batch(step).first for step in steps])
    return [divmod(int(crop[0, 0, 0]), width) for crop in firsts]


def street(seed: int = 0, size: int = 24) -> ImagePair:
    random = torch.Generator().manual_seed(seed)
    first, second = torch.rand(2, 1, size, size, generator=random)
    return ImagePair(first, second, str(seed))


# Places


@pytest.mark.parametrize(
    ("size", "stride", "expected"),
    [
        (3, 4, {(0, 0), (0, 4), (0, 8), (4, 0), (4, 4), (4, 8)}),
        (3, 5, {(0, 0), (0, 5)}),  # 7 rows hold no crop of 3 at 5
        (7, 1, {(0, 0), (0, 1), (0, 2), (0, 3), (0, 4)}),
        (5, 2, {(0, 0), (0, 2), (0, 4), (0, 6), (2, 0), (2, 2), (2, 4), (2, 6)}),
        (4, 200, {(0, 0)}),
    ],
)
def test_grid_worked_by_hand(size: int, stride: int, expected: set[tuple[int, int]]) -> None:
    crops = Crops([numbered(7, 11)], size=size, stride=stride, batch=1, sampling="grid")
    assert crops.steps_per_epoch == len(expected)
    assert set(corners(crops, 11)) == expected
    assert crops.batch(0).first.shape == (1, 1, size, size)


def test_both_images_are_cut_at_the_same_place() -> None:
    pairs = [numbered(7, 11, "a"), numbered(9, 8, "b", 200)]
    for sampling in ("grid", "random"):
        crops = Crops(pairs, size=3, stride=3, batch=2, sampling=sampling, flips=True)
        for step in range(5):
            batch = crops.batch(step)
            assert torch.equal(batch.second, batch.first + 1000)
            assert list(batch.name) == ["a" if crop.max() < 200 else "b" for crop in batch.first]


@pytest.mark.parametrize(("batch", "steps"), [(1, 6), (2, 3), (3, 2), (6, 1)])
def test_an_epoch_visits_every_place_once_in_a_new_order(batch: int, steps: int) -> None:
    crops = Crops([numbered(7, 11)], size=3, stride=4, batch=batch, sampling="grid")
    assert crops.steps_per_epoch == steps
    orders = [corners(crops, 11, epoch) for epoch in range(4)]
    assert all(len(order) == len(set(order)) == 6 for order in orders)
    assert len({tuple(order) for order in orders}) > 1


def test_what_does_not_fill_a_batch_waits_for_another_epoch() -> None:
    crops = Crops([numbered(7, 11)], size=3, stride=4, batch=4, sampling="grid")
    assert crops.steps_per_epoch == 1
    seen = [set(corners(crops, 11, epoch)) for epoch in range(12)]
    assert all(len(places) == 4 for places in seen)
    assert len(set.union(*seen)) == 6


def test_random_crops_reach_every_place_and_take_one_of_every_pair_an_epoch() -> None:
    crops = Crops([numbered(5, 6), numbered(5, 6, "b", 500)], size=3, batch=2, sampling="random")
    assert crops.steps_per_epoch == 1
    batches = [crops.batch(step) for step in range(200)]
    assert all(sorted(batch.name) == ["a", "b"] for batch in batches)
    places = {divmod(int(crop[0, 0, 0]) % 500, 6) for batch in batches for crop in batch.first}
    assert places == {(top, left) for top in range(3) for left in range(4)}


# Drawn again


@pytest.mark.parametrize("sampling", ["grid", "random"])
def test_a_step_depends_on_the_seed_and_its_number_alone(sampling: Any) -> None:
    def crops(seed: int) -> Crops:
        pairs = [street(number) for number in range(4)]
        return Crops(
            pairs,
            size=16,
            stride=4,
            batch=2,
            sampling=sampling,
            flips=True,
            jitter=0.2,
            darken=0.3,
            seed=seed,
        )

    one, other = crops(0), crops(0)
    forward = [one.batch(step) for step in range(6)]
    backward = [other.batch(step) for step in reversed(range(6))][::-1]
    for here, there in zip(forward, backward, strict=True):
        assert torch.equal(here.first, there.first)
        assert torch.equal(here.second, there.second)
        assert here.name == there.name
    assert not torch.equal(forward[0].first, forward[1].first)
    assert not torch.equal(forward[0].first, crops(1).batch(0).first)


def test_seed_decides_the_order_and_the_places() -> None:
    orders = [
        corners(Crops([numbered(7, 11)], size=3, stride=4, batch=6, sampling="grid", seed=seed), 11)
        for seed in (0, 1)
    ]
    assert orders[0] != orders[1]
    places = [
        [corners(crops, 40, epoch) for epoch in range(4)]
        for crops in (Crops([numbered(40, 40)], size=3, batch=1, seed=seed) for seed in (0, 1))
    ]
    assert places[0] != places[1]


def drawn_in_turn(pairs: list[ImagePair], step: int, batch: int, size: int) -> list[ImagePair]:
    """The crops of a step at random places, with all that is random, written plainly."""
    epoch, position = divmod(step, len(pairs) // batch)
    order = np.random.default_rng((5, 0, epoch)).permutation(len(pairs))
    random, crops = np.random.default_rng((5, 1, step)), []
    for index in order[position * batch : (position + 1) * batch]:
        pair = pairs[index]
        height, width = (side - size + 1 for side in pair.first.shape[-2:])
        for _ in range(20):
            top, left = int(random.integers(height)), int(random.integers(width))
            images = [x[:, top : top + size, left : left + size] for x in pair[:2]]
            if min(contrast(image) for image in images) >= 0.86:
                break
        axes = [axis for axis in (-2, -1) if random.random() < 0.5]
        images = [image.flip(axes) for image in images]
        for which, image in enumerate(images):
            gain, offset = random.uniform(-0.2, 0.2, 2)
            middle = image.mean()
            images[which] = ((image - middle) * (1 + gain) + middle * (1 + offset)).clamp(0, 1)
        shares = random.uniform(0, 0.3, 2)
        first, second = (x * (1 - share) for x, share in zip(images, shares, strict=True))
        crops.append(ImagePair(first, second, pair.name))
    return crops


SHARED = {"size": 16, "flips": True, "jitter": 0.2, "darken": 0.3, "seed": 5, "min_contrast": 0.86}


def test_crops_are_drawn_one_after_another_from_one_stream() -> None:
    pairs = [street(number) for number in range(6)]
    crops = Crops(pairs, batch=3, **SHARED)  # type: ignore[arg-type]
    for step in range(8):
        batch, expected = crops.batch(step), drawn_in_turn(pairs, step, 3, 16)
        assert list(batch.name) == [crop.name for crop in expected]
        for index, crop in enumerate(expected):
            torch.testing.assert_close(batch.first[index], crop.first)
            torch.testing.assert_close(batch.second[index], crop.second)


# Shares


class Watched(list[ImagePair]):
    """Pairs that remember which of them were asked for."""

    def __init__(self, pairs: list[ImagePair]) -> None:
        super().__init__(pairs)
        self.asked: list[int] = []

    def __getitem__(self, index: Any) -> Any:
        self.asked.append(index)
        return super().__getitem__(index)


class Processes:
    """Threads in place of processes: each sees the sum of what all of them give."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._given: list[Any] = [None] * count
        self._barrier = Barrier(count)
        self.rounds = 0

    def share(self, rank: int) -> Share:
        def together(value: Any) -> list[Any]:
            self._given[rank] = value
            self._barrier.wait(10)
            everything = list(self._given)
            self._barrier.wait(10)
            return everything

        def exchange(values: list[int]) -> list[int]:
            self.rounds += rank == 0
            return [sum(column) for column in zip(*together(values), strict=True)]

        return Share(rank, self.count, exchange, lambda value, source: together(value)[source])

    def run(self, work: Callable[[int], Any]) -> list[Any]:
        with ThreadPoolExecutor(self.count) as threads:
            return list(threads.map(work, range(self.count)))


def test_a_crop_has_the_same_bits_whatever_the_threads() -> None:
    pairs = [street(number, 200) for number in range(4)]
    crops = Crops(pairs, size=200, batch=4, sampling="random", jitter=0.2, darken=0.2)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(crops.batch(0))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(batch.first, found[0].first) for batch in found)
    assert all(torch.equal(batch.second, found[0].second) for batch in found)


def test_whole_pairs_of_any_size_each_once_an_epoch() -> None:
    pairs = [numbered(16, 19, "a"), numbered(21, 17, "b", 200)]
    crops = Crops(pairs, size=3, batch=1, sampling="whole", multiple=4)
    assert crops.steps_per_epoch == 2
    for epoch in range(3):
        batches = {batch.name[0]: batch for batch in map(crops.batch, (2 * epoch, 2 * epoch + 1))}
        assert torch.equal(batches["a"].first[0], pairs[0].first[:, :16, :16])
        assert torch.equal(batches["b"].second[0], pairs[1].second[:, :20, :16])


@pytest.mark.parametrize("sampling", ["grid", "random", "whole"])
@pytest.mark.parametrize("count", [2, 3])
def test_processes_make_their_share_from_their_pairs_alone(sampling: Any, count: int) -> None:
    pairs = [street(number) for number in range(12)]
    options = {**SHARED, "haze": 0.5, "cameras": 0.5, "batch": 6, "sampling": sampling, "stride": 8}
    whole = Crops(pairs, **options)
    processes = Processes(count)
    lists = [Watched(pairs) for _ in range(count)]
    crops = [Crops(each, **options) for each in lists]
    for step in range(6):
        expected = whole.batch(step)
        for each in lists:
            each.asked.clear()
        shares = processes.run(lambda rank: crops[rank].batch(step, processes.share(rank)))  # noqa: B023
        for rank, share in enumerate(shares):
            assert torch.equal(share.first, expected.first[rank::count])
            assert torch.equal(share.second, expected.second[rank::count])
            assert list(share.name) == list(expected.name)[rank::count]
            assert {pairs[index].name for index in lists[rank].asked} == set(share.name)
    if sampling == "random":
        assert processes.rounds > 6  # crops without contrast were drawn again


def test_what_one_process_cannot_read_ends_all_of_them() -> None:
    class Broken(list[ImagePair]):
        def __getitem__(self, index: Any) -> Any:
            if index == 2 and self.broken:
                raise InputError("there is no file ir/2.png.")
            return super().__getitem__(index)

        broken = False

    pairs = Broken([street(number) for number in range(4)])
    crops = [Crops(pairs, size=16, batch=4) for _ in range(2)]
    pairs.broken = True
    processes = Processes(2)

    def work(rank: int) -> str:
        with pytest.raises(InputError) as caught:
            crops[rank].batch(0, processes.share(rank))
        return str(caught.value)

    assert processes.run(work) == ["there is no file ir/2.png."] * 2
    with pytest.raises(InputError, match=r"ir/2\.png"):
        crops[0].batch(0)


# Contrast


def test_contrast_worked_by_hand() -> None:
    levels = torch.arange(11.0) / 10  # the tenth percentile is 0.1, the ninetieth 0.9
    assert contrast(levels) == pytest.approx(0.8 / 0.9)
    assert contrast(levels + 1) == pytest.approx(0.8 / 1.9)
    assert contrast(torch.full((4,), 0.3)) == 0
    assert contrast(torch.zeros(4)) == 0


def two_halves(first: tuple[float, float], second: tuple[float, float]) -> ImagePair:
    """16 x 32: the contrasts of the left and the right half, in both images."""
    board = (torch.arange(16)[:, None] + torch.arange(32)).remainder(2)

    def image(contrasts: tuple[float, float]) -> Tensor:
        share = torch.tensor(contrasts).repeat_interleave(16)
        return (1 - share * board)[None]

    return ImagePair(image(first), image(second), "halves")


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        ((0.5, 0.5), (0.5, 0.5), {0, 16}),
        ((0.05, 0.5), (0.5, 0.5), {16}),
        ((0.5, 0.5), (0.5, 0.05), {0}),
        ((0.5, 0.05), (0.5, 0.5), {0}),
        ((0.5, 0.25), (0.5, 0.25), {0, 16}),  # just as much as is asked for
    ],
)
def test_crops_without_contrast_in_either_image_are_left_out(
    first: tuple[float, float], second: tuple[float, float], kept: set[int]
) -> None:
    pair = two_halves(first, second)
    crops = Crops(
        [pair],
        size=16,
        stride=16,
        batch=1,
        sampling="grid",
        min_contrast=0.25,
    )
    found = [crops.batch(step) for step in range(crops.steps_per_epoch)]
    cuts = [slice(left, left + 16) for left in kept]
    expected = [ImagePair(pair.first[..., cut], pair.second[..., cut]) for cut in cuts]
    assert len(found) == len(expected)
    for crop in expected:
        assert any(
            torch.equal(batch.first[0], crop.first) and torch.equal(batch.second[0], crop.second)
            for batch in found
        )


def test_crops_with_contrast_need_not_be_found_again() -> None:
    pairs = Watched([two_halves((0.5, 0.05), (0.5, 0.5)), two_halves((0.5, 0.5), (0.05, 0.5))])
    options: dict[str, Any] = {"size": 16, "batch": 1, "sampling": "grid", "stride": 16}
    options["min_contrast"] = 0.25
    kept = np.concatenate([grid_contrast(pair, 16, 16, 0.25) for pair in list(pairs)])
    assert kept.tolist() == [True, False, False, True]
    known = Crops(pairs, kept=kept, **options)
    found = Crops(pairs, **options)
    assert known.steps_per_epoch == found.steps_per_epoch == 2
    for step in range(4):
        assert torch.equal(known.batch(step).first, found.batch(step).first)


def test_without_a_limit_flat_crops_count() -> None:
    pair = two_halves((0, 0), (0, 0))
    crops = Crops([pair], size=16, stride=16, batch=1, sampling="grid", min_contrast=0)
    assert crops.steps_per_epoch == 2


def test_random_crops_look_for_contrast_but_not_for_ever() -> None:
    # Of 49 columns 24 give a crop that is half texture or more.
    image = torch.full((1, 16, 64), 0.9)
    image[..., 40:] -= 0.8 * (torch.arange(24) % 2)
    pair = ImagePair(image, image, "a")
    plain, picky = (
        Crops([pair], size=16, batch=1, sampling="random", min_contrast=limit) for limit in (0, 0.5)
    )
    shares = [
        np.mean([contrast(crops.batch(step).first) >= 0.5 for step in range(60)])
        for crops in (plain, picky)
    ]
    assert shares[0] < 0.8
    assert shares[1] == 1
    flat = ImagePair(torch.ones(1, 16, 16), torch.ones(1, 16, 16), "flat")
    crops = Crops([flat], size=16, batch=1, sampling="random", min_contrast=0.5)
    assert torch.equal(crops.batch(0).first[0], flat.first)


# Flips and jitter


def test_flips_give_all_four_views() -> None:
    pair = numbered(3, 3)
    crops = Crops([pair], size=3, batch=1, flips=True)
    views = [pair.first.flip(axes) for axes in ((), (-1,), (-2,), (-2, -1))]
    counts = [0] * 4
    for step in range(100):
        first = crops.batch(step).first[0]
        counts[next(index for index, view in enumerate(views) if torch.equal(first, view))] += 1
    assert min(counts) > 10
    still = Crops([pair], size=3, batch=1)
    assert all(torch.equal(still.batch(step).first[0], pair.first) for step in range(20))


def test_jitter_changes_contrast_and_brightness_within_its_share() -> None:
    levels = 0.4 + 0.2 * torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0))
    crops = Crops([ImagePair(levels, levels, "a")], size=16, batch=1, jitter=0.2)
    batches = [crops.batch(step) for step in range(200)]
    for images in ([batch.first for batch in batches], [batch.second for batch in batches]):
        gains = np.array([float(image.std() / levels.std()) for image in images])
        offsets = np.array([float(image.mean() / levels.mean()) for image in images])
        for shares in (gains, offsets):
            assert 0.8 - 1e-4 <= shares.min() < 0.83
            assert 1.17 < shares.max() <= 1.2 + 1e-4
        assert abs(np.corrcoef(gains, offsets)[0, 1]) < 0.2
    assert not any(torch.equal(batch.first, batch.second) for batch in batches)


def test_jitter_stays_in_the_range() -> None:
    crops = Crops([street()], size=24, batch=1, jitter=0.9)
    for step in range(20):
        batch = crops.batch(step)
        assert min(batch.first.min(), batch.second.min()) >= 0
        assert max(batch.first.max(), batch.second.max()) <= 1


def test_darken_darkens_each_image_by_its_share_and_keeps_black() -> None:
    levels = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0))
    levels[:, :4] = 0
    crops = Crops([ImagePair(levels, levels, "a")], size=16, batch=1, darken=0.6)
    batches = [crops.batch(step) for step in range(200)]
    shares = np.array([[float(x.max() / levels.max()) for x in b[:2]] for b in batches])
    for step, of_step in enumerate(shares):
        for image, share in zip(batches[step][:2], of_step, strict=True):
            torch.testing.assert_close(image[0], levels * share)
    assert 0.4 - 1e-4 <= shares.min() < 0.43
    assert 0.97 < shares.max() <= 1
    assert abs(np.corrcoef(shares.T)[0, 1]) < 0.2


def test_haze_brightens_a_share_of_the_first_images_alone() -> None:
    black = torch.zeros(1, 32, 32)
    crops = Crops([ImagePair(black, black, "a")], size=32, batch=1, haze=0.4)
    batches = [crops.batch(step) for step in range(200)]
    veiled = [batch.first for batch in batches if batch.first.any()]
    assert 60 < len(veiled) < 100
    assert not any(batch.second.any() for batch in batches)
    assert all(image.min() >= 0 and image.max() <= 1 for image in veiled)
    assert all(image.std() > 0.01 for image in veiled)  # thick here and thin there
    levels = [float(image.max()) for image in veiled]
    assert min(levels) < 0.5 < 0.85 < max(levels)


def test_other_cameras_take_both_images_of_a_share_of_the_crops() -> None:
    levels = torch.linspace(0, 1, 32 * 32).view(1, 32, 32)
    crops = Crops([ImagePair(levels, levels, "a")], size=32, batch=1, cameras=0.4)
    batches = [crops.batch(step) for step in range(300)]
    changed = [batch for batch in batches if not torch.equal(batch.first[0], levels)]
    assert 95 < len(changed) < 145
    for batch in changed:
        assert not torch.equal(batch.second[0], levels)
        assert not torch.equal(batch.first, batch.second)
    again = Crops([ImagePair(levels, levels, "a")], size=32, batch=1, cameras=0.4)
    assert all(torch.equal(again.batch(n).first, batches[n].first) for n in range(20))


# Refused


def test_images_smaller_than_a_crop_are_named() -> None:
    pairs = [street(0, 24), numbered(30, 15, "narrow"), numbered(15, 30, "low")]
    with pytest.raises(InputError) as caught:
        Crops(pairs, size=16, batch=1)
    assert str(caught.value) == (
        "2 of 3 pairs are smaller than the crop of 16 pixels (narrow for one): train with "
        "smaller crops or leave them out."
    )
    assert Crops([street(0, 16)], size=16, batch=1).steps_per_epoch == 1
    with pytest.raises(InputError, match="pairs are smaller than 32 pixels"):
        Crops([street()], size=16, batch=1, sampling="whole", multiple=32)


def test_whole_pairs_of_different_sizes_in_one_batch_is_a_sentence() -> None:
    pairs = [street(0, 16), street(1, 24)]
    with pytest.raises(InputError) as caught:
        Crops(pairs, size=16, batch=2, sampling="whole")
    assert str(caught.value) == (
        "whole pairs of 2 sizes do not go into batches of 2: use a batch of 1, or crops."
    )
    same = Crops(pairs, size=16, batch=2, sampling="whole", multiple=16)
    assert same.batch(0).first.shape == (2, 1, 16, 16)


def test_fewer_crops_than_a_batch_is_a_sentence() -> None:
    with pytest.raises(InputError) as caught:
        Crops([street()], size=16, batch=2, sampling="random")
    assert str(caught.value) == (
        "the data give 1 crops of 16 pixels, fewer than a batch of 2: add pairs, or use a smaller "
        "batch."
    )
    with pytest.raises(InputError) as caught:
        Crops([street()], size=16, batch=2, sampling="grid", stride=100)
    assert str(caught.value) == (
        "the data give 1 crops of 16 pixels, fewer than a batch of 2: add pairs, or use a smaller "
        "batch, stride or min_contrast."
    )
