"""Value ranges: thermal counts, temperatures and medical images fill [0, 1], the rest stays."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given
from hypothesis import strategies as st
from image_bytes import Array, noise, tensor, tiff
from PIL import Image

from cddfuse.errors import InputError
from cddfuse.io import PairedPaths, Range, Ranges, decode, ranges, read_image, read_pair, resolve
from cddfuse.io.images import load_pair
from cddfuse.io.ranges import Rule

AUTO = Ranges()


def save(path: Path, array: Array) -> Path:
    """16-bit integers as PNG, the rest as TIFF."""
    if array.dtype in ("uint8", "uint16") and path.suffix == ".png":
        Image.fromarray(array).save(path)
    else:
        tifffile.imwrite(path, array)
    return path


def folder(tmp_path: Path, first: list[Array], second: list[Array]) -> list[PairedPaths]:
    """Pairs of files."""
    pairs = []
    for index, (one, other) in enumerate(zip(first, second, strict=True)):
        suffixes = [
            ".png" if image.dtype in ("uint8", "uint16") else ".tif" for image in (one, other)
        ]
        paths = [tmp_path / f"{side}{index}{s}" for side, s in zip("ab", suffixes, strict=True)]
        pairs.append(PairedPaths(str(index), save(paths[0], one), save(paths[1], other)))
    return pairs


def scene(body: bool) -> Array:
    """Centikelvin: ground of 20 degrees with a slope and noise, and perhaps a warm body."""
    ground = 29300 + 2 * np.arange(96)[:, None] + np.arange(128)[None] // 2
    counts = (ground + noise(96, 128) % 16).astype(np.uint16)
    if body:
        counts[30:60, 50:70] += 617
    return counts


def test_a_warm_body_stands_out(tmp_path: Path) -> None:
    """By 617 of 65535 counts it would be 2.4 of 255 levels."""
    pairs = folder(tmp_path, [noise(96, 128)] * 2, [scene(True), scene(False)])
    found = resolve(AUTO, pairs)
    warm, cold = (read_pair(*pair[1:], ranges=found.ranges).second for pair in pairs)
    contrast = 255 * (warm - cold)[0, 30:60, 50:70].mean()
    assert 170 < contrast < 255
    assert 2.3 < 255 * (read_image(pairs[0].second) - read_image(pairs[1].second)).max() < 2.5
    assert found.ranges.first == Rule("full")
    assert "second=auto:29" in found.sentence
    assert "from 2 files" in found.sentence
    # One mapping for all pairs: what is equal in the files is equal in the images.
    assert torch.equal(warm[:, :30], cold[:, :30])


CELSIUS = (scene(True) - 27315.0) / 100


@pytest.mark.parametrize(
    "values",
    [
        scene(True),
        (scene(True) // 4),
        CELSIUS.astype(np.float32),
        (CELSIUS - 20).astype(np.float64),
        (100 * CELSIUS - 3000).astype(np.int16),
        (CELSIUS - 20).astype(np.int8),
        scene(True).astype(np.int32),
        noise(96, 128).astype(np.float32),
        noise(96, 128, bits=16) // 16,
        noise(96, 128, bits=16) // 4,
        (CELSIUS / 100 - 0.5).astype(np.float16),
    ],
    ids=[
        *("centikelvin", "14-bit counts", "Celsius", "below zero", "signed", "signed bytes"),
        *("32-bit", "0 to 255 as floats", "12-bit MRI", "full 14-bit counts", "half precision"),
    ],
)
def test_auto_fills_the_range(tmp_path: Path, values: Array) -> None:
    pairs = folder(tmp_path, [noise(96, 128)], [values])
    image = read_pair(*pairs[0][1:], ranges=resolve(AUTO, pairs).ranges).second
    assert image.min() == 0
    assert image.max() == 1
    assert image.quantile(0.003) < 0.2
    exact = np.quantile(values.astype(float), (0.001, 0.999))
    expected = ((values.astype(float) - exact[0]) / (exact[1] - exact[0])).clip(0, 1)
    assert np.abs(image[0].numpy() - expected).max() < 0.03


PHOTOGRAPH = (noise(96, 128) * 0.6 + 40).astype(np.uint16) * 257


@pytest.mark.parametrize(
    "values",
    [
        noise(96, 128),
        noise(96, 128, 3),
        noise(96, 128) // 64,
        PHOTOGRAPH,
        noise(96, 128).astype(np.float32) / 255,
        np.full((96, 128), 0.5, np.float32),
    ],
    ids=["8 bits", "colour", "dark 8 bits", "16-bit photograph", "floats in [0, 1]", "flat"],
)
def test_auto_leaves_the_rest_as_it_is(tmp_path: Path, values: Array) -> None:
    pairs = folder(tmp_path, [values], [noise(96, 128)])
    found = resolve(AUTO, pairs)
    pair = read_pair(*pairs[0][1:], ranges=found.ranges)
    assert torch.equal(pair.first, read_image(pairs[0].first))
    assert found.sentence == ""


def test_8_bit_files_among_deeper_ones_stay_as_they_are(tmp_path: Path) -> None:
    pairs = folder(tmp_path, [noise(96, 128)] * 2, [scene(True), noise(96, 128)])
    found = resolve(AUTO, pairs).ranges
    assert torch.equal(read_pair(*pairs[1][1:], ranges=found).second, tensor(noise(96, 128)))
    assert read_pair(*pairs[0][1:], ranges=found).second.max() == 1


@pytest.mark.parametrize("value", [0, 7, 65535])
@pytest.mark.parametrize("kind", [np.uint16, np.float32, np.int16])
def test_flat_images(tmp_path: Path, value: int, kind: type) -> None:
    values: Array = np.full((5, 7), value).astype(kind)
    pairs = folder(tmp_path, [noise(5, 7)], [values])
    for rule in ("auto", "minmax", "percentile"):
        found = resolve(Ranges.parse([f"second={rule}"]), pairs).ranges
        image = read_pair(*pairs[0][1:], ranges=found).second
        assert image.min() == image.max()


@pytest.mark.parametrize("texts", [["auto"], ["minmax"], ["percentile:5"], ["second=-20:45.5"]])
def test_a_rerun_with_what_was_found_is_the_same(tmp_path: Path, texts: list[str]) -> None:
    pairs = folder(tmp_path, [scene(False)] * 2, [CELSIUS.astype(np.float32), -CELSIUS])
    found = resolve(Ranges.parse(texts), pairs).ranges
    again = Ranges.parse(found.texts)
    assert again == found == resolve(again, pairs[:1]).ranges
    assert all(rule.resolved for rule in found)


finite = st.floats(-1e12, 1e12).map(lambda value: round(value, 6))


@given(st.tuples(finite, finite).filter(lambda ends: ends[0] < ends[1]), st.sampled_from("ar"))
def test_ranges_survive_their_text(ends: tuple[float, float], kind: str) -> None:
    rule = Rule("auto" if kind == "a" else "range", given=Range(*ends))
    assert Rule.parse(str(rule)) == rule


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], Ranges(Rule(), Rule())),
        (["full"], Ranges(Rule("full"), Rule("full"))),
        (["first=full"], Ranges(Rule("full"), Rule())),
        (["minmax", "second=-20:45"], Ranges(Rule("minmax"), Rule("range", given=Range(-20, 45)))),
        (["percentile"], Ranges(*[Rule("percentile", 0.1)] * 2)),
        (["percentile:2"], Ranges(*[Rule("percentile", 2)] * 2)),
        (["1e-3:1e3"], Ranges(*[Rule("range", given=Range(0.001, 1000))] * 2)),
    ],
)
def test_texts(texts: list[str], expected: Ranges) -> None:
    assert Ranges.parse(texts) == expected


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["all"], "there is no range all: use auto, full, minmax, percentile, percentile:P or LOW"),
        (["5"], "there is no range 5: use auto"),
        (["1:2:3"], "there is no range 1:2:3"),
        (["full:1"], "there is no range full:1"),
        (["nan:1"], "there is no range nan:1"),
        (["0:inf"], "there is no range 0:inf"),
        (["5:5"], "the range 5:5 is empty: give the lower value first"),
        (["auto:5:1"], "the range auto:5:1 is empty"),
        (["percentile:50"], "cannot cut off 50 percent at both ends: use 0 to 49"),
        (["percentile:-1"], "cannot cut off -1 percent"),
        (["third=full"], "there is no side third of a pair: use first or second"),
        (["first=full", "first=auto"], "the first images have two ranges: give one"),
        (["full", "auto"], "all images have two ranges: give one"),
    ],
)
def test_bad_texts(texts: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        Ranges.parse(texts)
    assert error.value.setting == "range"


def test_given_ranges_clip(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", np.array([[-40, -20, 12.5, 45, 90]], np.float32))
    image = read_image(path, range=Range(-20, 45))
    torch.testing.assert_close(image, torch.tensor([[[0, 0, 0.5, 1, 1]]]))
    levels = save(tmp_path / "b.png", np.array([[0, 100, 150, 200]], np.uint8))
    torch.testing.assert_close(
        read_pair(levels, levels, ranges=Ranges.parse(["100:200"])).first,
        torch.tensor([[[0, 0, 0.5, 1]]]),
    )


@pytest.mark.parametrize(
    "source",
    [
        np.array([[-5, 0, 5]], np.int16),
        np.array([[-5, 0, 5]], np.int64),
        np.array([[-5.0, 0, 5]]),
        torch.tensor([[-5, 0, 5]]),
        torch.tensor([[-5.0, 0, 5]]),
    ],
)
def test_ranges_make_values_in_memory_readable(source: Any) -> None:
    with pytest.raises(InputError, match=r"or give (the|their) range") as error:
        read_image(source)
    assert error.value.setting == "range"
    expected = torch.tensor([[[0, 0.5, 1]]])
    assert torch.equal(read_image(source, range=Range(-5, 5)), expected)
    assert torch.equal(read_pair(source, source, ranges=Ranges.parse(["-5:5"])).second, expected)
    with pytest.raises(InputError, match="the range 5 to -5 is empty"):
        read_image(source, range=Range(5, -5))


@pytest.mark.parametrize("kind", [np.uint16, np.int16])
def test_percentiles_of_integers_are_exact(tmp_path: Path, kind: type) -> None:
    values: Array = noise(101, 100, bits=16).astype(kind)
    pairs = folder(tmp_path, [noise(4, 4)] * 2, [values[:50], values[50:]])
    found = resolve(Ranges.parse(["second=percentile:1"]), pairs).ranges.second.given
    ordered = np.sort(values, axis=None)
    assert found == (ordered[100], ordered[-101])


def test_ranges_for_minimum_and_maximum_look_at_all_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "_MOST_FILES", 1)
    values = [np.full((4, 4), value, np.float32) for value in (3, 9, -7, 5)]
    pairs = folder(tmp_path, [noise(4, 4)] * 4, values)
    assert resolve(Ranges.parse(["second=minmax"]), pairs).ranges.second.given == Range(-7, 9)


def test_large_folders_are_sampled_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "_MOST_FILES", 3)
    pairs = folder(tmp_path, [noise(4, 4)] * 9, [scene(False)] * 9)
    read: list[str] = []

    def note(path: Path) -> decode.Decoded:
        read.append(path.name)
        return decode.decode(path)

    monkeypatch.setattr(ranges, "decode", note)
    assert "from 3 files" in resolve(AUTO, pairs).sentence
    assert sorted(read) == ["b1.png", "b4.png", "b7.png"]


def test_samples_of_large_images_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "_MOST_SAMPLES", 2000)
    values = np.linspace(-1, 1, 256 * 256).reshape(256, 256).astype(np.float32)
    pairs = folder(tmp_path, [noise(4, 4)] * 2, [values, values + 1])
    low, high = resolve(Ranges.parse(["second=percentile:5"]), pairs).ranges.second.given or (0, 0)
    assert abs(low - np.quantile([values, values + 1], 0.05)) < 0.02
    assert abs(high - np.quantile([values, values + 1], 0.95)) < 0.02


def test_files_that_cannot_be_read_are_skipped(tmp_path: Path) -> None:
    pairs = folder(tmp_path, [noise(96, 128)] * 3, [scene(True)] * 3)
    pairs[0].second.write_bytes(b"rubbish")
    data = pairs[1].second.read_bytes()
    pairs[1].second.write_bytes(data[: len(data) // 2])
    pairs.append(PairedPaths("x", tmp_path / "none.png", tmp_path / "none.png"))
    assert "from 1 file" in resolve(AUTO, pairs).sentence


def test_values_of_different_types_have_no_common_range(tmp_path: Path) -> None:
    pairs = folder(tmp_path, [noise(4, 4)] * 2, [scene(True), CELSIUS.astype(np.float32)])
    with pytest.raises(InputError, match="the second images hold values of different") as error:
        resolve(AUTO, pairs)
    assert error.value.setting == "range"


@pytest.mark.parametrize("nodata", [-9999, 40000])
def test_pixels_without_data_are_black_and_do_not_count(tmp_path: Path, nodata: int) -> None:
    values = CELSIUS.astype(np.float32)
    values[:20] = nodata
    extratags = [(42113, 2, 0, str(nodata), True)]
    tifffile.imwrite(tmp_path / "b.tif", values, extratags=extratags)
    save(tmp_path / "a.png", noise(96, 128))
    image = load_pair(tmp_path / "a.png", tmp_path / "b.tif", ranges=AUTO)[0].second
    assert (image[:, :20] == 0).all()
    assert image[:, 20:].std() > 0.1


def test_nan_is_refused_unless_it_means_no_data(tmp_path: Path) -> None:
    values = CELSIUS.astype(np.float32)
    values[0, 0] = np.nan
    save(tmp_path / "a.png", noise(96, 128))
    (tmp_path / "b.tif").write_bytes(tiff(values))
    with pytest.raises(InputError, match=r"b\.tif holds NaN or infinite values: replace them"):
        load_pair(tmp_path / "a.png", tmp_path / "b.tif", ranges=AUTO)
    tifffile.imwrite(tmp_path / "b.tif", values, extratags=[(42113, 2, 0, "nan", True)])
    image = load_pair(tmp_path / "a.png", tmp_path / "b.tif", ranges=AUTO)[0].second
    assert image[0, 0, 0] == 0


def test_one_pair_finds_its_own_range(tmp_path: Path) -> None:
    pairs = folder(tmp_path, [noise(96, 128)], [scene(True)])
    fixed = read_pair(*pairs[0][1:], ranges=resolve(AUTO, pairs).ranges)
    pair, metadata = load_pair(*pairs[0][1:], ranges=AUTO)
    assert torch.equal(pair.second, fixed.second)
    assert metadata.bits == 16
    assert torch.equal(read_pair(noise(96, 128), scene(True), ranges=AUTO).second, fixed.second)


def test_reading_from_python_keeps_the_full_range_by_default(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", scene(True))
    assert torch.equal(read_image(path), tensor(scene(True)))
    assert torch.equal(read_pair(path, path).second, tensor(scene(True)))
