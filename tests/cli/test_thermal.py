"""`fuse` with radiometric files: a pair in one file, temperatures, and one mapping for reruns."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from image_bytes import encoded, noise
from PIL import Image
from thermal_bytes import (
    Overlay,
    camera_record,
    dji_jpeg,
    flir_jpeg,
    photo_records,
    raw_record,
    scene,
)

from cddfuse.cli import run
from cddfuse.io.decode import decode

Say = pytest.CaptureFixture[str]


def camera(path: Path, low: int = 17000, make: str = "FLIR") -> Path:
    """A file with a thermal image of 32x24 and a photo of 64x48 that shows the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[271] = make
    photo = encoded(noise(48, 64, 3), "JPEG", quality=95)
    records = {1: raw_record(scene(low=low)), 0x20: camera_record()}
    records |= photo_records(photo, Overlay(1.0))
    path.write_bytes(flir_jpeg(records, exif=exif))
    return path


def fuse(*arguments: object, model: str = "second") -> int:
    return run(["fuse", *map(str, arguments), "--model", model, "--bits", "8"])


def levels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("L")).astype(int)


def test_a_pair_from_one_file(tmp_path: Path, capsys: Say) -> None:
    path = camera(tmp_path / "a.jpg")
    assert fuse(path, "-o", tmp_path / "o.png", "--celsius", model="mean") == 0
    said = capsys.readouterr().err
    assert said.startswith("value range: second=auto:")
    assert "fused " + str(path) in said
    with Image.open(tmp_path / "o.png") as result:
        assert (result.size, result.mode) == ((64, 48), "RGB")
        assert result.getexif()[271] == "FLIR"
    celsius = tifffile.imread(tmp_path / "o_celsius.tif")
    assert (celsius.dtype.name, celsius.shape) == ("float32", (48, 64))
    measured = decode(path).pixels
    assert np.abs(celsius[::2, ::2] - measured).mean() < 0.1
    assert fuse(path, "-o", tmp_path / "o.png", "--celsius") == 2
    assert "o.png exists already" in capsys.readouterr().err


def test_files_of_two_cameras_are_no_pair_of_one(tmp_path: Path, capsys: Say) -> None:
    (tmp_path / "a.jpg").write_bytes(dji_jpeg(scene()))
    assert fuse(tmp_path / "a.jpg", "-o", tmp_path / "o.png") == 2
    assert "a.jpg is thermal and holds no visible photo: give that too." in capsys.readouterr().err


def test_a_folder_has_one_mapping_that_other_runs_take(tmp_path: Path, capsys: Say) -> None:
    for name, low in {"a": 16800, "b": 17200}.items():
        camera(tmp_path / "in" / f"{name}.jpg", low)
    Image.new("L", (9, 9)).save(tmp_path / "in" / "other.png")
    assert fuse(tmp_path / "in", "-o", tmp_path / "one", "--agc", "plateau") == 1
    said = capsys.readouterr().err
    assert "with plateau from 2 files" in said
    assert f"no partner, and no visible photo in it: {tmp_path / 'in' / 'other.png'}" in said
    stored = json.loads((tmp_path / "one" / "fuse.json").read_text())
    assert stored["range"][1].endswith("C")
    assert stored["agc"] == "plateau"
    one = levels(tmp_path / "one" / "a.png")
    # Another folder, another scene: the same temperatures become the same greys.
    camera(tmp_path / "late" / "a.jpg", 16800)
    for mapping in (tmp_path / "one", tmp_path / "one" / "fuse.json"):
        output = tmp_path / mapping.stem
        flags = ["--mapping", mapping, "--overwrite"]
        assert fuse(tmp_path / "late", "-o", tmp_path / "two", *flags) == 0
        np.testing.assert_array_equal(levels(tmp_path / "two" / "a.png"), one)
        assert json.loads((tmp_path / "two" / "fuse.json").read_text()) == stored
        assert output.exists() or mapping.suffix
    assert fuse(tmp_path / "late", "-o", tmp_path / "three") == 0
    assert (levels(tmp_path / "three" / "a.png") != one).mean() > 0.5


@pytest.mark.parametrize("flags", [(), ("--suffix", "_f", "--format", "jpg")])
def test_photos_fused_in_place_are_fused_once(
    tmp_path: Path, capsys: Say, flags: tuple[str, ...]
) -> None:
    for name in ("a", "b"):
        camera(tmp_path / f"{name}.jpg")
    command = [tmp_path, "-o", tmp_path, "--celsius", *flags]
    assert fuse(*command) == 0
    before = sorted(path.name for path in tmp_path.iterdir())
    assert len(before) == 7
    camera(tmp_path / "c.jpg")
    assert fuse(*command) == 0
    assert "kept 2 results" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir() if path.name[0] != "c") == before
    assert len(list(tmp_path.glob("c*"))) == 3


def test_a_rerun_keeps_the_contrast_unless_told(tmp_path: Path, capsys: Say) -> None:
    camera(tmp_path / "in" / "a.jpg")
    arguments = [tmp_path / "in", "-o", tmp_path / "out"]
    assert fuse(*arguments, "--agc", "clahe") == 0
    camera(tmp_path / "in" / "b.jpg")
    assert fuse(*arguments) == 0
    assert fuse(*arguments, "--agc", "clahe") == 0
    np.testing.assert_array_equal(
        levels(tmp_path / "out" / "a.png"), levels(tmp_path / "out" / "b.png")
    )
    capsys.readouterr()
    assert fuse(*arguments, "--agc", "none") == 2
    assert "with clahe: use the same, another folder, or overwrite" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--mapping", "MISSING"], "is no mapping: name a fuse.json"),
        (["--mapping", "x", "--range", "full"], "give it or a range, not both"),
        (["--kelvin-per-count", "0"], "one count cannot be 0 kelvin"),
        (["--range", "30:20C"], "the range 30:20C is empty"),
        (["--range", "20:30F"], "there is no range 20:30F"),
    ],
)
def test_flags_that_mean_nothing(tmp_path: Path, capsys: Say, flags: list[str], said: str) -> None:
    assert fuse(camera(tmp_path / "a.jpg"), "-o", tmp_path / "o.png", *flags) == 2
    assert said in capsys.readouterr().err


def test_temperatures_are_added_to_results_that_lack_them(tmp_path: Path, capsys: Say) -> None:
    camera(tmp_path / "in" / "a.jpg")
    arguments = [tmp_path / "in", "-o", tmp_path / "out"]
    assert fuse(*arguments) == 0
    before = (tmp_path / "out" / "a.png").read_bytes()
    assert fuse(*arguments, "--celsius") == 0
    assert (tmp_path / "out" / "a_celsius.tif").is_file()
    assert (tmp_path / "out" / "a.png").read_bytes() == before
    assert fuse(*arguments, "--celsius") == 0
    assert "kept 1 result " in capsys.readouterr().err
    (tmp_path / "out" / "a.png").unlink()
    assert fuse(*arguments, "--celsius") == 2  # temperatures of another run, perhaps
    assert "a_celsius.tif exists already" in capsys.readouterr().err
    assert fuse(*arguments, "--celsius", "--overwrite") == 0


def test_clips_on_the_command_line(tmp_path: Path, capsys: Say) -> None:
    counts = np.stack([scene(low=low) for low in (16800, 17000, 17200)])
    tifffile.imwrite(tmp_path / "ir.tif", counts, photometric="minisblack")
    tifffile.imwrite(
        tmp_path / "vi.tif", (counts // 256).astype(np.uint8), photometric="minisblack"
    )
    sources = [tmp_path / "vi.tif", tmp_path / "ir.tif"]
    flags = ["--range", "second=0:40C", "--kelvin-per-count", "0.017", "--celsius"]
    assert fuse(*sources, "-o", tmp_path / "o.tif", *flags) == 0
    assert "fused 3 frames" in capsys.readouterr().err
    celsius = counts * 0.017 - 273.15
    np.testing.assert_allclose(tifffile.imread(tmp_path / "o_celsius.tif"), celsius, atol=1e-4)
    expected = (255 * (celsius / 40).clip(0, 1)).round()
    assert np.abs(tifffile.imread(tmp_path / "o.tif") - expected).max() <= 1
    stored = json.loads((tmp_path / "o.tif.fuse.json").read_text())
    assert stored == {
        "range": ["first=full", "second=0:40C"],
        "asked": ["second=0:40C"],
        "kelvin_per_count": 0.017,
    }
    assert fuse(*sources, "-o", tmp_path / "o.tif", *flags, "--suffix", "_x") == 0
    names = {path.name for path in tmp_path.glob("o_x*")}
    assert names == {"o_x.tif", "o_x_celsius.tif", "o_x.tif.fuse.json"}
    mapping = ["--mapping", tmp_path / "o.tif.fuse.json"]
    assert fuse(*sources, "-o", tmp_path / "pages", *mapping) == 0
    assert [path.name for path in sorted((tmp_path / "pages").glob("*.png"))][2] == "0003.png"
    page = tifffile.imread(tmp_path / "o.tif")[2]
    np.testing.assert_array_equal(levels(tmp_path / "pages" / "0003.png"), page)


def test_a_pair_from_one_file_is_aligned(tmp_path: Path, capsys: Say) -> None:
    path, transform = camera(tmp_path / "a.jpg"), tmp_path / "t.json"
    points = ("10,10,3,5", "50,10,23,5", "10,40,3,20")  # the photo's pixels, the thermal image's
    assert run(["align", str(path), "-o", str(transform), "--points", *points]) == 0
    assert f"aligned both images of {path}: moved by" in capsys.readouterr().err
    assert fuse(path, "-o", tmp_path / "moved.png", "--transform", transform) == 0
    assert fuse(path, "-o", tmp_path / "plain.png") == 0
    moved, plain = levels(tmp_path / "moved.png"), levels(tmp_path / "plain.png")
    assert moved.shape == plain.shape == (48, 64)
    # A pixel of the thermal image is two of the photo's: it moves by three and a half of those.
    inner, came_from = moved[8:-8, 12:-12], plain[8:-8, 8:-16]
    stayed = np.abs(inner - plain[8:-8, 12:-12]).mean()
    assert stayed > 1
    assert np.abs(inner - came_from).mean() < stayed / 2
    alone = camera(tmp_path / "b.jpg").with_name("c.png")
    Image.open(path).save(alone)
    capsys.readouterr()
    assert run(["align", str(alone), "-o", str(tmp_path / "u.json")]) == 2
    assert f"{alone} is one image: give the second one too." in capsys.readouterr().err
