"""Target contrast: laws, worked cases, and figures of TNO that an implementation is checked by."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from released import shared
from torch import Tensor

from cddfuse.metrics import PROFILES
from cddfuse.metrics.tc import (
    LARGE,
    SMALL,
    Size,
    boxed_targets,
    summarise_targets,
    target_contrast,
    targets,
)

Image = NDArray[np.float32]


@pytest.fixture
def hot() -> Image:
    """Level 60 with three targets of level 180."""
    image = np.full((200, 260), 60, np.float32)
    image[30:38, 40:46] = image[50:62, 200:208] = image[110:122, 100:112] = 180
    return image


def test_targets_are_found_by_size(hot: Image) -> None:
    assert [target.inside.sum() for target in targets(hot, SMALL)] == [48, 96, 144]
    assert [target.inside.sum() for target in targets(hot, LARGE)] == [144]
    contrasts = [target.contrast(hot) for target in targets(hot, SMALL)]
    assert all(80 < contrast < 120 for contrast in contrasts)  # regions are off by a pixel


def test_identity_keeps_everything(hot: Image) -> None:
    assert target_contrast(hot, hot) == [1, 1, 1]


def test_a_negative_inverts(hot: Image) -> None:
    assert target_contrast(255 - hot, hot) == [-1, -1, -1]


def test_blind_to_a_constant(hot: Image) -> None:
    fused = hot * np.float32(0.5) + np.linspace(0, 30, 260, dtype=np.float32)
    expected = target_contrast(fused, hot)
    assert target_contrast(fused + 40, hot) == pytest.approx(expected, abs=1e-5)
    assert target_contrast(fused, hot + 40) == pytest.approx(expected, abs=1e-5)


def test_a_deleted_patch_is_lost(hot: Image) -> None:
    fused = hot.copy()
    fused[50:62, 200:208] = 60
    kept = target_contrast(fused, hot)
    assert kept == [1, 0, 1]
    summary = summarise_targets(kept)
    assert summary.targets == 3
    assert summary.lost == pytest.approx(1 / 3)
    assert summary.inverted == 0


def test_a_ring_is_as_wide_as_its_region_is_large_and_leaves_others_out() -> None:
    image = np.full((200, 200), 60, np.float32)
    image[100:115, 100:115] = 180  # 225 pixels: reach 10, made odd; the first pixel is left out
    image[101:111, 120:130] = 200  # found a pixel further right, six columns of it within reach
    largest = max(targets(image, LARGE), key=lambda target: int(target.inside.sum()))
    assert largest.inside.sum() == 225
    assert largest.ring.sum() == 37**2 - 17**2 - 6 * 10


@pytest.mark.parametrize(
    ("level", "place", "found"),
    [
        pytest.param(60 + 60, (50, 50), 1, id="clear"),
        pytest.param(60 + 26, (50, 50), 0, id="not 30 levels above what is around"),
        pytest.param(180, (0, 50), 0, id="at the border"),
        pytest.param(180, (1, 50), 1, id="near the border"),
    ],
)
def test_what_is_no_target(level: int, place: tuple[int, int], found: int) -> None:
    image = np.full((200, 200), 60, np.float32)
    top, left = place
    image[top : top + 8, left : left + 8] = level
    assert len(targets(image, SMALL)) == found


def test_kept_is_clipped(hot: Image) -> None:
    steep = np.where(hot > 100, 255, 0).astype(np.float32)
    assert target_contrast(steep, hot) == [1.5, 1.5, 1.5]


def test_a_set_without_targets_is_undefined() -> None:
    summary = summarise_targets([])
    assert summary.targets == 0
    assert all(math.isnan(x) for x in (summary.kept, summary.lost, summary.inverted))


def test_boxes_are_cut_off_at_the_border() -> None:
    image = np.zeros((40, 60), np.float32)
    image[:12, :15] = 200
    image[:6, :15] = 220
    (inside,) = boxed_targets(image, [(0, 0, 15, 12)])
    (beyond,) = boxed_targets(image, [(-3, -2, 15, 12)])
    assert np.array_equal(beyond.inside, inside.inside)
    assert beyond.window == inside.window
    for outside in ((-20, 5, -3, 12), (5, -20, 15, -3), (70, 5, 80, 12)):
        assert boxed_targets(image, [outside]) == []


def test_boxes_take_their_hottest_part() -> None:
    image = np.full((60, 80), 50, np.float32)
    image[20:40, 20:30] = 100
    image[20:26, 20:30] = 200  # 30 % of the box
    image[20:40, 31:41] = 250  # another box, not in the ring of the first one
    boxes = [(20, 20, 30, 40), (31, 20, 41, 40)]
    first, _ = boxed_targets(image, boxes)
    assert first.inside.sum() == 60
    assert first.contrast(image) == 150
    assert target_contrast(image * np.float32(0.5), image, boxes=boxes)[0] == pytest.approx(0.5)
    assert boxed_targets(image, [(70, 50, 75, 55)]) == []  # as cold as its ring
    assert boxed_targets(image, [(90, 10, 95, 20)]) == []  # outside


def test_metrics_say_which_image_and_size(hot: Image) -> None:
    corrected = PROFILES["corrected"]
    source = torch.from_numpy(hot)[None, None] / 255
    flat = torch.full_like(source, 0.3)
    lost = source.clone()
    lost[..., 50:62, 200:208] = 60 / 255

    def value(name: str, *images: Tensor) -> float:
        return corrected[name](*images).item()

    assert value("TC", lost, flat, source) == pytest.approx(2 / 3)
    assert value("TC_lost", lost, flat, source) == pytest.approx(1 / 3)
    assert value("TC_large", lost, flat, source) == 1
    assert value("TC_first", lost, source, flat) == pytest.approx(2 / 3)
    assert math.isnan(value("TC", lost, source, flat))
    assert math.isnan(value("TC_first_large_lost", lost, flat, source))


def test_figures_of_tno() -> None:
    """At half size, of the visible image, the mean and the maximum: kept and lost, within .01."""
    folder = shared("data", "tno", "test")
    pairs = [
        [_half(path), _half(folder / "vi" / path.name)]
        for path in sorted((folder / "ir").iterdir())
    ]
    expected: list[tuple[Size, int, list[tuple[float, float]]]] = [
        (SMALL, 201, [(0.04, 0.78), (0.51, 0.10), (0.72, 0.14)]),
        (LARGE, 63, [(-0.06, 0.86), (0.46, 0.13), (0.67, 0.17)]),
    ]
    for size, number, figures in expected:
        rows: list[list[float]] = [[], [], []]
        for infrared, visible in pairs:
            found = targets(infrared, size)
            images = (visible, (infrared + visible) / 2, np.maximum(infrared, visible))
            for row, image in zip(rows, images, strict=True):
                row += [target.kept(image, infrared) for target in found]
        for row, (kept, lost) in zip(rows, figures, strict=True):
            summary = summarise_targets(row)
            assert summary.targets == pytest.approx(number, abs=1)
            assert summary.kept == pytest.approx(kept, abs=0.01)
            assert summary.lost == pytest.approx(lost, abs=0.01)


def _half(path: Path) -> Image:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    height, width = image.shape
    half = cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return half.astype(np.float32)
