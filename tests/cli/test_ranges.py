"""`fuse --range`: thermal counts are seen, one mapping for a folder, and reruns keep it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from cddfuse.cli import run

Say = pytest.CaptureFixture[str]
AIR, BODY = 29300, 31000  # centikelvin


def thermal(path: Path, offset: int = 0) -> None:
    """A scene of 16-bit counts with a warm body in the middle."""
    counts = np.full((40, 50), AIR + offset, np.uint16)
    counts[::2] += 100
    counts[15:25, 20:30] = BODY + offset
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(counts).save(path)


def folders(root: Path, *names: str) -> list[str]:
    for number, name in enumerate(names):
        thermal(root / "ir" / f"{name}.tif", 10 * number)
        (root / "vi" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (50, 40), 90).save(root / "vi" / f"{name}.png")
    return [str(root / "vi"), str(root / "ir")]


def fuse(*arguments: object) -> int:
    """With the network that shows the infrared image alone, in 8 bits."""
    return run(["fuse", *map(str, arguments), "--model", "second", "--bits", "8"])


def cli(*arguments: str) -> int:
    return run(list(arguments))


def contrast(path: Path) -> int:
    """Levels by which the body stands out from the warmer half of the scene."""
    image = np.asarray(Image.open(path)).astype(int)
    return int(image[20, 25] - image[0, 0])


def test_warm_body_of_thermal_counts_stands_out(tmp_path: Path, capsys: Say) -> None:
    sources = folders(tmp_path, "1", "2")
    assert fuse(*sources, "-o", tmp_path / "out") == 0
    assert contrast(tmp_path / "out" / "1.png") > 196
    said = capsys.readouterr().err.splitlines()[0]
    assert said.startswith("value range: second=auto:29300:310")
    assert fuse(*sources, "-o", tmp_path / "full", "--range", "full") == 0
    assert contrast(tmp_path / "full" / "1.png") < 8


def test_folder_keeps_its_range(tmp_path: Path, capsys: Say) -> None:
    """A pair that comes later is mapped as the first ones were, though it is far warmer."""
    fuse(*folders(tmp_path, "1"), "-o", tmp_path / "out")
    stored = (tmp_path / "out" / "fuse.json").read_text()
    thermal(tmp_path / "ir" / "9.tif", 20000)
    Image.new("L", (50, 40), 90).save(tmp_path / "vi" / "9.png")
    assert fuse(tmp_path, "-o", tmp_path / "out") == 0
    assert np.asarray(Image.open(tmp_path / "out" / "9.png")).min() == 255
    assert (tmp_path / "out" / "fuse.json").read_text() == stored
    ranges = json.loads(stored)["range"]
    assert fuse(tmp_path, "-o", tmp_path / "out", "--range", *ranges) == 0
    capsys.readouterr()
    assert fuse(tmp_path, "-o", tmp_path / "out", "--range", "full") == 2
    assert "another folder, or overwrite them (--overwrite)." in capsys.readouterr().err
    assert fuse(tmp_path, "-o", tmp_path / "out", "--overwrite") == 0
    assert np.asarray(Image.open(tmp_path / "out" / "9.png")).min() < 255


@pytest.mark.parametrize(
    "texts", [["second=29000:31000"], ["minmax"], ["first=full", "second=minmax"]]
)
def test_the_same_command_resumes(tmp_path: Path, capsys: Say, texts: list[str]) -> None:
    """A range that has to be found is found once, and holds for pairs that come later."""
    sources = folders(tmp_path, "1")
    assert fuse(*sources, "-o", tmp_path / "out", "--range", *texts) == 0
    stored = (tmp_path / "out" / "fuse.json").read_text()
    folders(tmp_path, "1", "2")
    for flags in (["--range", *texts], []):
        assert fuse(*sources, "-o", tmp_path / "out", *flags) == 0
        assert (tmp_path / "out" / "fuse.json").read_text() == stored
    assert (tmp_path / "out" / "2.png").is_file()
    capsys.readouterr()
    assert fuse(*sources, "-o", tmp_path / "out", "--range", "second=percentile:2") == 2
    assert "use the same, another folder, or overwrite" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"), [("1:2", "white"), ("60000:61000", "black"), ("29350:60000", "")]
)
def test_a_range_that_misses_all_values_is_said(
    tmp_path: Path, capsys: Say, text: str, said: str
) -> None:
    sources = folders(tmp_path, "1")
    assert fuse(*sources, "-o", tmp_path / "out", "--range", f"second={text}") == 0
    first = capsys.readouterr().err.splitlines()[0]
    makes = f", which makes images of 29300:31000 all {said}" if said else ""
    assert first == f"value range: second={text}{makes}"


def test_a_folder_without_any_result_keeps_no_range(tmp_path: Path, capsys: Say) -> None:
    """The pair failed, and the range may have been why."""
    sources = folders(tmp_path, "1")
    other = tmp_path / "vi" / "1.png"
    other.write_bytes(other.read_bytes()[:-30])
    assert fuse(*sources, "-o", tmp_path / "out", "--range", "second=1:2") == 2
    assert not (tmp_path / "out" / "fuse.json").exists()
    folders(tmp_path, "1")
    assert fuse(*sources, "-o", tmp_path / "out", "--range", "minmax") == 0
    other.write_bytes(other.read_bytes()[:-30])
    assert fuse(*sources, "-o", tmp_path / "out", "--range", "minmax", "--overwrite") == 2
    assert (tmp_path / "out" / "fuse.json").exists()  # of the result that is still there


def test_damaged_record_of_the_range(tmp_path: Path, capsys: Say) -> None:
    sources = folders(tmp_path, "1")
    (tmp_path / "out").mkdir()
    for text, flags in {"{": [], '{"range": ["full"], "asked": 1}': ["--range", "full"]}.items():
        (tmp_path / "out" / "fuse.json").write_text(text)
        assert fuse(*sources, "-o", tmp_path / "out", *flags) == 2
        assert (
            "fuse.json is damaged: remove it, or give the range (--range)."
            in capsys.readouterr().err
        )


def test_range_of_one_pair(tmp_path: Path) -> None:
    vi, ir = folders(tmp_path, "1")
    pair = [Path(vi) / "1.png", Path(ir) / "1.tif"]
    assert fuse(*pair, "-o", tmp_path / "o.png", "--range", f"second={AIR}:{BODY}") == 0
    assert contrast(tmp_path / "o.png") == 255 - 15
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ir", "o.png", "vi"]


@pytest.mark.parametrize(
    ("text", "said"),
    [("warm", "there is no range warm"), ("5:1", "is empty"), ("third=full", "no side third")],
)
def test_ranges_that_mean_nothing(tmp_path: Path, capsys: Say, text: str, said: str) -> None:
    assert fuse(*folders(tmp_path, "1"), "-o", tmp_path / "out", "--range", text) == 2
    assert said in capsys.readouterr().err


def test_metadata_of_the_first_image_is_carried_over_unless_stripped(tmp_path: Path) -> None:
    vi, ir = folders(tmp_path, "1")
    exif = Image.Exif()
    exif[306] = "2026:11:28 03:00:00"
    Image.new("L", (50, 40), 90).save(Path(vi) / "1.png", exif=exif, dpi=(300, 300))
    for name, flags in {"kept": [], "bare": ["--strip"]}.items():
        assert fuse(vi, ir, "-o", tmp_path / name, *flags) == 0
    with Image.open(tmp_path / "kept" / "1.png") as kept:
        assert kept.getexif()[306] == "2026:11:28 03:00:00"
        assert round(kept.info["dpi"][0]) == 300
    with Image.open(tmp_path / "bare" / "1.png") as bare:
        assert not bare.getexif()
        assert "dpi" not in bare.info


def test_training_maps_all_pairs_alike_and_remembers_it(tmp_path: Path, capsys: Say) -> None:
    sources = folders(tmp_path, "1", "2", "3", "4")
    command = ["train", *sources, "-o", str(tmp_path / "run"), "--crop", "16", "--batch", "2"]
    steps = ["--steps", "2", "--epochs", "1", "1", "--range", "auto"]
    assert cli(*command, *steps, "--stop-after", "1e-9") == 130
    assert "value range: second=auto:29300:310" in capsys.readouterr().err
    stored = yaml.safe_load((tmp_path / "run" / "pairs.yaml").read_text())
    assert stored["range"] == ["first=auto", "second=auto"]
    assert stored["found_range"][1].startswith("second=auto:29300:310")
    for name in "1234":  # what was found counts, though the range is not asked for again
        thermal(tmp_path / "moved" / "ir" / f"{name}.tif", 10 * (int(name) - 1))
    shutil.copytree(sources[0], tmp_path / "moved" / "vi")
    assert cli(*command[:1], str(tmp_path / "moved"), *command[3:5], "--resume") == 0
    assert (
        yaml.safe_load((tmp_path / "run" / "pairs.yaml").read_text())["found_range"]
        == (stored["found_range"])
    )


def test_training_takes_subfolders_if_asked(tmp_path: Path, capsys: Say) -> None:
    sources = folders(tmp_path, "a/1", "a/2", "b/1", "b/2")
    flags = ["--crop", "16", "--batch", "2", "--steps", "1", "--single-stage", "--val-share", "0"]
    assert cli("train", *sources, "-o", str(tmp_path / "run"), *flags, "--recursive") == 0
    assert "4 pairs to train on, 0 to validate" in capsys.readouterr().err
