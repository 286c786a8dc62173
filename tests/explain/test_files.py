"""Explanations on disk: whole, kept, never mixed, never over files of somebody else."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cddfuse import write_image
from cddfuse.cli import run
from cddfuse.io import replacing_folder

# PyTorch compiles parts of its forward-mode derivatives by a function that it deprecates itself.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")

Say = pytest.CaptureFixture[str]

FILES = {"sheet.png", "explanation.json", "values.npz", "base_first.png", "without_detail.png"}


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    random = torch.Generator().manual_seed(0)
    for side in ("vi", "ir"):
        for name in ("1", "2"):
            write_image(tmp_path / side / f"{name}.png", torch.rand(1, 24, 32, generator=random))
    return tmp_path


def explained(folders: Path, *more: str) -> int:
    given = ("explain", str(folders / "vi"), str(folders / "ir"), "-o", str(folders / "out"))
    return run([*given, "--model", "guided", "--directions", "1", *more])


def test_folders_of_pairs(folders: Path, capsys: Say) -> None:
    assert explained(folders, "--json") == 0
    out = folders / "out"
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["pairs"] == 2
    assert {path.name for path in (out / "1").iterdir()} >= FILES
    with Image.open(out / "1" / "sheet.png") as sheet:
        assert sheet.width > 5 * 240
    with np.load(out / "1" / "values.npz") as values:
        assert values["share"].shape == (24, 32)
    first = json.loads((out / "1" / "explanation.json").read_text())
    rows = (out / "pairs.csv").read_text().splitlines()
    assert float(rows[1].split(",")[2]) == first["parts"]["base"]["correlation"]
    assert (out / "correlation.pdf").read_bytes().startswith(b"%PDF")
    assert not list(out.glob(".cddfuse*"))

    before = (out / "1" / "sheet.png").stat().st_mtime_ns
    assert explained(folders) == 0
    assert "kept 2 explanations" in capsys.readouterr().err
    assert (out / "1" / "sheet.png").stat().st_mtime_ns == before
    assert explained(folders, "--overwrite") == 0
    assert (out / "1" / "sheet.png").stat().st_mtime_ns > before


def test_explanations_of_other_settings_are_not_mixed(folders: Path, capsys: Say) -> None:
    assert explained(folders) == 0
    assert explained(folders, "--size", "16") == 2
    assert "made by another network" in capsys.readouterr().err


def test_an_explanation_of_an_image_that_has_changed_is_not_kept(
    folders: Path, capsys: Say
) -> None:
    assert explained(folders) == 0
    write_image(folders / "ir" / "2.png", torch.rand(1, 24, 32), overwrite=True)
    assert explained(folders) == 1
    said = capsys.readouterr().err
    assert "of other images than 2 is now" in said
    assert explained(folders, "--overwrite") == 0


def test_files_of_somebody_else_stay(folders: Path, capsys: Say) -> None:
    out = folders / "out"
    assert explained(folders) == 0
    (out / "1" / "notes.txt").write_text("mine")
    assert explained(folders, "--overwrite") == 1
    assert "notes.txt, which is not of an explanation" in capsys.readouterr().err
    assert (out / "1" / "notes.txt").read_text() == "mine"
    (out / "summary.json").write_text("mine")
    assert explained(folders) == 2
    assert (out / "summary.json").read_text() == "mine"


def test_a_folder_that_is_no_explanation_is_refused(folders: Path, capsys: Say) -> None:
    (folders / "out" / "1").mkdir(parents=True)
    assert explained(folders, "--overwrite") == 1
    assert "is no explanation" in capsys.readouterr().err


def test_one_damaged_file_does_not_stop_the_rest(folders: Path, capsys: Say) -> None:
    (folders / "ir" / "1.png").write_bytes(b"no image")
    assert explained(folders) == 1
    assert (folders / "out" / "2" / "sheet.png").is_file()
    assert "failed: 1" in capsys.readouterr().err


def test_one_pair(folders: Path, capsys: Say) -> None:
    given = [str(folders / side / "1.png") for side in ("vi", "ir")]
    command = ["explain", *given, "-o", str(folders / "one"), "--model"]
    assert run([*command, "u2fusion"]) == 2
    assert "does not take images apart" in capsys.readouterr().err
    assert run([*command, "laplacian", "--json"]) == 0
    (numbers,) = json.loads(capsys.readouterr().out)
    assert numbers["share_of_first"] is None  # NumPy has no gradient
    with Image.open(folders / "one" / "1" / "sheet.png") as sheet:
        assert sheet.width == 8 + 5 * 248  # five columns of parts, three above
        above = np.asarray(sheet)[40:200]
    assert above[:, : 3 * 248].std() > 20
    assert above[:, 3 * 248 + 8 :].std() < 1  # nothing where there are no shares
    assert not (folders / "one" / "summary.json").exists()


def test_folders_are_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    place = tmp_path / "a" / "b"
    with replacing_folder(place) as folder:
        (folder / "old").touch()
    with pytest.raises(ZeroDivisionError), replacing_folder(place) as folder:
        (folder / "new").write_text(str(1 // 0))
    assert [path.name for path in place.iterdir()] == ["old"]
    with replacing_folder(place) as folder:
        (folder / "new").touch()
    assert [path.name for path in place.iterdir()] == ["new"]
    assert [path.name for path in place.parent.iterdir()] == ["b"]
