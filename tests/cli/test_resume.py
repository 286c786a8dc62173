"""`cddfuse train --resume`: what it accepts, what it refuses, and that the run ends the same."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from training import write_pairs

from cddfuse import cli

SETTINGS = ["--crop", "16", "--batch", "2", "--epochs", "1", "1", "--steps", "4"]
CONFIG = "learning_rate: 1e-3\nloss: {ssim: 2}\n"


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of a run that was stopped after its first step, and one that was not."""
    root = tmp_path_factory.mktemp("stopped")
    write_pairs(root)
    (root / "mine.yaml").write_text(CONFIG)
    assert cli.run(["train", *command(root, root / "run"), "--stop-after", "1e-9"]) == 130
    assert cli.run(["train", *command(root, root / "whole")]) == 0
    return root / "run", root / "whole"


def command(root: Path, run: Path) -> list[str]:
    """The command line of the run over the pairs below `root`."""
    folders = [str(root / "vi"), str(root / "ir"), "-o", str(run), "--quiet"]
    config = ["--config", str(root / "mine.yaml"), "--loss", "scd=1"]
    return [*folders, *SETTINGS, "--preset", "quick", "--val-share", "0.25", *config]


@pytest.fixture
def run(stopped: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the stopped run, with pairs of its own beside it."""
    for name in ("run", "vi", "ir"):
        shutil.copytree(stopped[0].parent / name, tmp_path / name)
    shutil.copy(stopped[0].parent / "mine.yaml", tmp_path)
    pairs = tmp_path / "run" / "pairs.yaml"
    pairs.write_text(pairs.read_text().replace(str(stopped[0].parent), str(tmp_path)))
    return tmp_path / "run"


def resume(run: Path, arguments: Sequence[str] = ()) -> int:
    return cli.run(["train", "-o", str(run), "--resume", "--quiet", *arguments])


def assert_same(one: Path, two: Path) -> None:
    first, second = (load_file(folder / "weights.safetensors") for folder in (one, two))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_nothing_more_needs_to_be_said(run: Path, stopped: tuple[Path, Path]) -> None:
    assert resume(run) == 0
    assert_same(run, stopped[1])


def test_the_same_command_is_accepted(run: Path, stopped: tuple[Path, Path]) -> None:
    assert cli.run(["train", *command(run.parent, run), "--resume"]) == 0
    assert_same(run, stopped[1])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--crop", "32"], "the run has crop 16, not 32: leave it out, or start another run"),
        (["--learning-rate", "1e-4"], "the run has learning_rate 0.001, not 0.0001"),
        (["--loss", "ssim=3"], "the run has loss ssim 2.0, not 3.0"),
        (["--preset", "released"], "the run has preset quick, not released"),
        (["--preset", "nonsense"], "cddfuse has no preset nonsense"),
        (["--recipe", "sdnet"], "the run has recipe cddfuse, not sdnet"),
        (["--recipe", "nonsense"], "there is no recipe nonsense"),
        (["--weights", "ivf"], "the run has weights none, not ivf"),
        (["--config", "{root}/other.yaml"], "the run has learning_rate 0.001, not 0.002"),
        (["--val-share", "0.5"], "the run has val_share 0.25, not 0.5"),
        (["--val-group", "2"], "the run has val_group 0, not 2"),
        (["--range", "full"], "the run has range first=auto second=auto, not first=full"),
        (["--resize"], "the run has resize False, not True"),
        (["--val", "{root}/vi"], "the run validates on a share of its own pairs"),
        (["{root}/nowhere"], "there is no folder {root}/nowhere"),
        (["{root}/other"], "3 pairs of the run are not in the folders named (00 for one)"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, list) else "",
)
def test_what_differs_is_refused(
    run: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    root = run.parent
    (root / "other.yaml").write_text("learning_rate: 2e-3\n")
    for kind in ("vi", "ir"):
        (root / "other" / kind).mkdir(parents=True)
        shutil.copy(root / kind / "00.png", root / "other" / kind / "another.png")
    before = (run / "state.pt").read_bytes()
    assert resume(run, [argument.format(root=root) for argument in arguments]) == 2
    said = capsys.readouterr().err
    assert sentence.format(root=root) in said
    assert said.count("\n") == 1
    assert (run / "state.pt").read_bytes() == before


def test_folders_say_where_the_pictures_are_now(
    run: Path, stopped: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = run.parent
    for kind in ("vi", "ir"):
        (root / kind).rename(root / f"moved_{kind}")
    assert resume(run) == 2
    assert "8 of 8 pictures are missing" in capsys.readouterr().err
    moved = [str(root / "moved_vi"), str(root / "moved_ir")]
    assert resume(run, [*moved, "--stop-after", "1e-9"]) == 130
    assert resume(run) == 0  # it is noted where they are
    assert_same(run, stopped[1])


def test_pairs_of_one_name_are_told_apart_by_their_content(
    stopped: tuple[Path, Path], tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    write_pairs(one)
    for path in (one / "vi", one / "ir"):
        (two / path.name).mkdir(parents=True)
        for image in path.iterdir():
            negative = 255 - np.asarray(Image.open(image))
            Image.fromarray(negative).save(two / path.name / image.name)
    folders = [str(one / "vi"), str(one / "ir"), "--extra-data", str(two)]
    flags = [*folders, *SETTINGS, "--val-share", "0", "--quiet"]
    for name, more in (("whole", []), ("run", ["--stop-after", "1e-9"])):
        assert cli.run(["train", "-o", str(tmp_path / name), *flags, *more]) in (0, 130)
    swapped = [str(two / "vi"), str(two / "ir"), "--extra-data", str(one)]
    assert resume(tmp_path / "run", swapped) == 0
    assert_same(tmp_path / "run", tmp_path / "whole")


def test_validation_folders_may_move_too(tmp_path: Path) -> None:
    first, second = write_pairs(tmp_path)
    data = [str(first), str(second), *SETTINGS, "--quiet"]
    run = tmp_path / "run"
    val = ["--val", str(first), str(second), "--stop-after", "1e-9"]
    assert cli.run(["train", *data, "-o", str(run), *val]) == 130
    shutil.copytree(first, tmp_path / "val" / "vi")
    shutil.copytree(second, tmp_path / "val" / "ir")
    assert resume(run, ["--val", str(tmp_path / "val")]) == 0
    stored = yaml.safe_load((run / "pairs.yaml").read_text())
    assert stored["val_share"] is None
    assert all(str(tmp_path / "val") in row[1] for row in stored["val"])
    assert all(str(first) in row[1] for row in stored["train"])


@pytest.mark.parametrize("size", ["same", "other"])
def test_pictures_that_changed_are_refused(
    run: Path, capsys: pytest.CaptureFixture[str], size: str
) -> None:
    changed = run.parent / "ir" / "02.png"
    data = bytearray(changed.read_bytes())
    if size == "same":
        data[-20] ^= 1
    changed.write_bytes(data + (b"" if size == "same" else b"0"))
    assert resume(run) == 2
    said = capsys.readouterr().err
    assert f"1 of 8 pictures have changed since ({changed} for one)" in said


def test_without_a_run_folders_start_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert resume(tmp_path / "run") == 2
    assert f"{tmp_path / 'run'} holds no run to resume" in capsys.readouterr().err
    first, second = write_pairs(tmp_path)
    assert resume(tmp_path / "run", [str(first), str(second), *SETTINGS]) == 0


@pytest.mark.parametrize(
    "text", ["train: 3\n", "train: [[a, b]]\nval: []\n", "just words\n", "a: ["]
)
def test_a_damaged_list_of_pairs_is_a_sentence(
    run: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (run / "pairs.yaml").write_text(text)
    assert resume(run) == 2
    said = capsys.readouterr().err
    assert str(run / "pairs.yaml") in said
    assert said.count("\n") == 1


def test_crops_with_contrast_are_found_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = write_pairs(tmp_path)
    grid = ["--sampling", "grid", "--stride", "4", "--min-contrast", "0.2"]
    data = [str(first), str(second), *SETTINGS, *grid, "--quiet"]
    for name in ("whole", "run"):
        stop = ["--stop-after", "1e-9"] if name == "run" else []
        assert cli.run(["train", *data, "-o", str(tmp_path / name), *stop]) in (0, 130)

    def again(*_: object) -> None:
        raise AssertionError("the crops are known already")

    with monkeypatch.context() as patched:
        patched.setattr("cddfuse.datasets.crops.contrast", again)
        assert resume(tmp_path / "run", ["--stop-after", "1e-9"]) == 130
    (tmp_path / "run" / "crops.npy").unlink()  # and found again if that is lost
    assert resume(tmp_path / "run") == 0
    assert_same(tmp_path / "run", tmp_path / "whole")
