"""Gain control: laws of the curve, one curve for a folder, and contrast where it is needed."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from image_bytes import Array
from PIL import Image

from cddfuse.io import Ranges, load_pair, read_pair, resolve
from cddfuse.io.agc import Agc, histogram, plateau
from cddfuse.io.folders import PairedPaths


@given(st.lists(st.integers(0, 1000), min_size=8, max_size=8))
def test_laws_of_the_plateau(parts: list[int]) -> None:
    counts: Array = np.repeat(np.array(parts), 128)
    curve = np.array(plateau(counts))
    slopes = np.diff(curve) * (len(curve) - 1)
    assert (curve[0], curve[-1]) == (0, 1)
    assert slopes.min() >= 0
    assert slopes.max() <= 4 + 4 + 0.01  # the plateau, and what was cut off there at most


def test_even_histograms_stay_as_they_are() -> None:
    curve = plateau(np.full(1024, 7))
    assert curve == pytest.approx(np.linspace(0, 1, len(curve)), abs=1e-3)


def test_levels_that_many_pixels_have_are_spread() -> None:
    """Nine tenths of an image within a tenth of the range, as with a cold sky in view."""
    image = torch.cat([0.5 + 0.1 * torch.rand(1, 90, 100), torch.rand(1, 10, 100)], 1)
    spread = Agc("plateau").apply(image)
    assert spread[:, :90].std() > 2 * image[:, :90].std()
    order = image.flatten().argsort()
    assert (spread.flatten()[order].diff() >= 0).all()


def test_clipped_ends_do_not_lift_the_rest() -> None:
    image = torch.rand(1, 100, 100)
    image[:, :60] = 0
    counts = histogram(image)
    assert counts[0] > 5000
    assert np.abs(np.array(plateau(counts)) - np.linspace(0, 1, 65)).max() < 0.06


def test_clahe_shows_what_is_faint() -> None:
    y, x = np.mgrid[:64, :64]
    faint = 0.5 * (x >= 32) + 0.02 * ((x // 2 + y // 2) % 2)
    image = torch.from_numpy(faint.astype(np.float32))[None]
    shown = Agc("clahe").apply(image)
    assert 0 <= shown.min() <= shown.max() <= 1
    assert shown[:, :, :24].std() > 1.5 * image[:, :, :24].std()
    assert torch.equal(Agc().apply(image), image)


def thermal(folder: Path, name: str, offset: int) -> PairedPaths:
    generator = np.random.default_rng(offset)
    counts = generator.normal(29000 + offset, 30, (40, 50)).astype(np.uint16)
    counts[10:15, 10:15] = 31000
    Image.fromarray(counts).save(folder / f"{name}.tif")
    Image.fromarray(generator.integers(0, 255, (40, 50), np.uint8)).save(folder / f"{name}.png")
    return PairedPaths(name, folder / f"{name}.png", folder / f"{name}.tif")


def test_a_folder_has_one_curve(tmp_path: Path) -> None:
    pairs = [thermal(tmp_path, "a", 0), thermal(tmp_path, "b", 300)]
    plain = resolve(Ranges(), pairs).ranges
    found = resolve(Ranges.parse([], agc="plateau"), pairs)
    assert "with plateau from 2 files" in found.sentence
    assert found.ranges.first.agc.curve == ()  # 8 bits are left alone
    curve = found.ranges.second.agc.curve
    assert len(curve) > 16
    for pair in pairs:
        before, _ = load_pair(*pair[1:], ranges=plain)
        after, _ = load_pair(*pair[1:], ranges=found.ranges)
        assert torch.equal(after.first, before.first)
        levels = np.interp(before.second.numpy(), np.linspace(0, 1, len(curve)), curve)
        np.testing.assert_allclose(after.second, levels, atol=1e-6)
    again = resolve(found.ranges, pairs[:1]).ranges
    assert again == found.ranges


def test_arrays_have_gain_control_too() -> None:
    counts = np.random.default_rng(0).normal(29000, 30, (40, 50)).astype(np.uint16)
    counts[0, 0] = 40000
    rules = Ranges.parse(["second=minmax"], agc="plateau")
    plain = read_pair(counts // 256, counts, ranges=Ranges.parse(["second=minmax"])).second
    gained = read_pair(counts // 256, counts, ranges=rules).second
    assert gained[:, 1:].std() > 2 * plain[:, 1:].std()
