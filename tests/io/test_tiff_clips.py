"""Multi-page TIFF files: pages come back exactly, whatever the layout; damage is named."""

from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from image_bytes import Array, noise
from released import shared

from cddfuse.errors import InputError
from cddfuse.io import Ranges
from cddfuse.io.formats import Reading, Writing, open_sink, open_source
from cddfuse.io.thermal.reading import ThermalReading
from cddfuse.io.tiff_clips import Clip, ClipPairs
from cddfuse.models import create_model
from cddfuse.pipeline import fuse_all
from cddfuse.registration import Transform

PAGES = noise(5, 37, 50, bits=16)


def clip(path: Path, pages: Array = PAGES, **options: Any) -> Path:
    tifffile.imwrite(path, pages, metadata=None, photometric="minisblack", **options)
    return path


def source(first: Path, second: Path, **reading: Any) -> ClipPairs:
    found = open_source(first, second, Reading(**reading))
    assert isinstance(found, ClipPairs)
    return found


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zlib"},
        {"compression": "lzw", "predictor": True},
        {"compression": "zstd"},
        {"rowsperstrip": 7},
        {"tile": (16, 32)},
        {"byteorder": ">", "rowsperstrip": 7, "compression": "zlib"},
        {"bigtiff": True, "rowsperstrip": 7},
        {"bigtiff": True, "byteorder": ">"},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16, np.float32])
def test_pages_come_back_exactly(tmp_path: Path, options: dict[str, Any], kind: type) -> None:
    pages: Array = PAGES.astype(kind)
    found = Clip.of(clip(tmp_path / "a.tif", pages, **options))
    assert found.length == len(pages)
    for number, page in enumerate(pages):
        np.testing.assert_array_equal(found.decode(number).pixels, page)
    assert all(image.deep() == (kind is not np.uint8) for image in found.images)


def test_clips_of_two_files_are_fused_page_by_page(tmp_path: Path) -> None:
    """With the network that shows the second image: what comes out is what went in."""
    found = source(
        clip(tmp_path / "a.tif", PAGES // 256),
        clip(tmp_path / "b.tif", compression="zlib"),
        ranges=Ranges.parse(["full"]),
    )
    out = tmp_path / "out.tif"
    summary = fuse_all(create_model("second"), found, open_sink(found, Writing(out)))
    assert summary.done == ["0001", "0002", "0003", "0004", "0005"]
    np.testing.assert_array_equal(tifffile.imread(out), PAGES)
    with pytest.raises(InputError, match=r"out\.tif exists already"):
        open_sink(found, Writing(out))
    with pytest.raises(InputError, match=r"a\.tif is a source"):
        open_sink(found, Writing(tmp_path / "a.tif", overwrite=True))
    (tmp_path / "named.tif").mkdir()
    with pytest.raises(InputError, match=r"named\.tif is a folder") as caught:
        open_sink(found, Writing(tmp_path / "named.tif", overwrite=True))
    assert caught.value.setting == "output"
    folder = tmp_path / "out"
    fuse_all(create_model("second"), found, open_sink(found, Writing(folder, form="tif")))
    assert sorted(path.name for path in folder.iterdir())[0] == "0001.tif"
    np.testing.assert_array_equal(tifffile.imread(folder / "0003.tif"), PAGES[2])


def test_pages_never_replace_a_source(tmp_path: Path) -> None:
    """Pages are named 0001, 0002 and on, and so may be the clips."""
    celsius = ThermalReading(celsius=True)
    first = clip(tmp_path / "0001.tif", PAGES[:3] / np.float32(999))
    second = clip(tmp_path / "0002_celsius.tif", PAGES[:3] / np.float32(999))
    before = first.read_bytes(), second.read_bytes()
    for one, other, reading in ((first, second, {}), (second, second, {"thermal": celsius})):
        writing = Writing(tmp_path, form="tif", overwrite=True)
        with pytest.raises(InputError, match=r"000[12]\.tif is a source: choose another folder"):
            open_sink(source(one, other, **reading), writing)
    assert (first.read_bytes(), second.read_bytes()) == before


def test_a_clip_has_one_range(tmp_path: Path) -> None:
    warming = (29000 + 500 * np.arange(5)[:, None, None] + noise(5, 37, 50) // 8).astype(np.uint16)
    found = source(clip(tmp_path / "a.tif", noise(5, 37, 50)), clip(tmp_path / "b.tif", warming))
    assert found.ranges is not None
    assert found.ranges.second.given == (warming.min(), warming.max())
    assert "from 5 pages" in found.notes[0]
    means = [entry.read().pair.second.mean() for entry in found]
    assert all(one < other for one, other in pairwise(means))


def test_temperatures_of_a_clip(tmp_path: Path) -> None:
    celsius = (PAGES / 1000).astype(np.float32)
    found = source(
        clip(tmp_path / "a.tif", noise(5, 37, 50)),
        clip(tmp_path / "b.tif", celsius),
        thermal=ThermalReading(celsius=True),
    )
    sink = open_sink(found, Writing(tmp_path / "o.tif"))
    fuse_all(create_model("mean"), found, sink)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "o_celsius.tif"), celsius)


def test_clips_that_do_not_match(tmp_path: Path) -> None:
    long, short = clip(tmp_path / "a.tif"), clip(tmp_path / "b.tif", PAGES[:3])
    with pytest.raises(InputError, match=r"a\.tif holds 5 images and .*b\.tif 3 images: give two"):
        source(long, short)
    with pytest.raises(InputError, match=r"holds 5 images and .*c\.tif 1 image: "):
        source(long, clip(tmp_path / "c.tif", PAGES[0]))
    small = clip(tmp_path / "d.tif", PAGES[:, :20])
    (entry, *_) = source(long, small)
    with pytest.raises(InputError, match=r"page 1 of .*: use images of one size") as error:
        entry.read()
    assert error.value.setting == "resize"
    (entry, *_) = source(long, small, resize=True)
    assert entry.read().pair.second.shape == (1, 37, 50)


def test_clips_cut_short(tmp_path: Path) -> None:
    """A page that is damaged fails alone, and a clip without it is not written."""
    first, second = clip(tmp_path / "a.tif"), clip(tmp_path / "b.tif", compression="zlib")
    data = bytearray(second.read_bytes())
    at = tifffile.TiffFile(BytesIO(data)).pages[2].dataoffsets[0]
    data[at : at + 40] = bytes(40)
    second.write_bytes(data)
    found = source(first, second)
    summary = fuse_all(create_model("mean"), found, open_sink(found, Writing(tmp_path / "out")))
    assert list(summary.failed) == ["0003"]
    assert "page 3 of" in str(summary.failed["0003"])
    with pytest.raises(InputError, match=r"o\.tif was not written, for 1 of its 5 pages failed"):
        fuse_all(create_model("mean"), found, open_sink(found, Writing(tmp_path / "o.tif")))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tif", "b.tif", "out"]


def test_a_page_without_its_pixels_fails_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for page in PAGES:  # each after its directory
            file.write(page, photometric="minisblack", metadata=None)
    path.write_bytes(path.read_bytes()[: -PAGES[0].nbytes // 2])
    found = source(clip(tmp_path / "b.tif"), path, ranges=Ranges.parse(["full"]))
    summary = fuse_all(create_model("mean"), found, open_sink(found, Writing(tmp_path / "out")))
    assert (len(summary.done), list(summary.failed)) == (4, ["0005"])
    assert "pixels end too early" in str(summary.failed["0005"])


def test_hostile_clips(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.tif", noise(3, 8, 9), rowsperstrip=3)
    data = path.read_bytes()
    chance = np.random.default_rng(0)
    cut = [data[:end] for end in range(1, len(data), 29)]
    changed = []
    for _ in range(60):
        wrong = bytearray(data)
        at = int(chance.integers(4, len(data) - 4))
        wrong[at : at + 4] = chance.choice([b"\xff" * 4, bytes(4), b"\1\0\0\0"])
        changed.append(bytes(wrong))
    for content in (*cut, *changed):
        path.write_bytes(content)
        try:
            found = Clip.of(path)
            for number in range(len(found.pages)):
                found.decode(number)
        except InputError:
            continue


def test_real_counts_as_a_clip(tmp_path: Path) -> None:
    counts = tifffile.imread(shared("data", "thermal", "moving_car_counts.tiff"))
    path = clip(tmp_path / "a.tif", np.stack([counts, counts + 100]))
    found = source(path, path)
    pair = next(iter(found)).read().pair
    assert torch.equal(pair.first, pair.second)
    assert pair.second.min() == 0


def test_a_transform_draws_the_second_of_each_page(tmp_path: Path) -> None:
    large = noise(5, 47, 60, bits=16)
    move = Transform("similarity", ((1, 0, 4), (0, 1, 5), (0, 0, 1)), (50, 37), (60, 47))
    files = clip(tmp_path / "a.tif"), clip(tmp_path / "b.tif", large)
    ranges = Ranges.parse(["full"])
    for number, entry in enumerate(source(*files, transform=move, ranges=ranges)):
        drawn = (entry.read().pair.second[0].numpy() * 65535).round()
        assert abs(drawn - large[number, 5:42, 4:54]).max() <= 1
