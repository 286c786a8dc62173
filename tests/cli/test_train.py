"""`cddfuse train`: what it is given, what it leaves, what it refuses."""

import csv
import shutil
from pathlib import Path

import pytest
import yaml
from safetensors import safe_open
from training import write_pairs

from cddfuse import cli
from cddfuse.recipes import RECIPES

QUICK = ["--crop", "16", "--batch", "2", "--epochs", "1", "1", "--steps", "2", "--quiet"]


@pytest.fixture
def data(tmp_path: Path) -> tuple[str, str]:
    first, second = write_pairs(tmp_path)
    return str(first), str(second)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("finished")
    folders = [str(folder) for folder in write_pairs(root)]
    assert cli.run(["train", *folders, "-o", str(root / "run"), *QUICK]) == 0
    return root / "run"


def test_recipe_and_pairs_are_kept_beside_the_weights(finished: Path) -> None:
    stored = yaml.safe_load((finished / "recipe.yaml").read_text())
    assert (stored["method"], stored["crop"], stored["steps"], stored["minutes"]) == (
        "cddfuse",
        16,
        2,
        0,
    )
    pairs = yaml.safe_load((finished / "pairs.yaml").read_text())
    assert (len(pairs["train"]), len(pairs["validate"])) == (3, 1)
    with safe_open(finished / "weights.safetensors", "pt") as file:
        assert yaml.safe_load(file.metadata()["cddfuse.recipe"]) == stored


def test_weights_of_a_run_fuse(finished: Path, tmp_path: Path) -> None:
    first, second = (finished.parent / kind / "00.png" for kind in ("vi", "ir"))
    weights = str(finished / "weights.safetensors")
    fused = tmp_path / "fused.png"
    assert cli.run(["fuse", str(first), str(second), "-o", str(fused), "--weights", weights]) == 0
    assert fused.is_file()


def test_a_bad_pair_is_named_and_left_out(
    data: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ir" / "01.png").write_bytes(b"no image")
    (tmp_path / "vi" / "03.png").unlink()
    loud = [flag for flag in QUICK if flag != "--quiet"]
    assert cli.run(["train", *data, "-o", str(tmp_path / "run"), *loud, "--val-share", "0"]) == 0
    said = capsys.readouterr().err
    assert "left out:" in said
    assert "01.png" in said
    assert f"no partner: {tmp_path / 'ir' / '03.png'}" in said
    assert "2 pairs to train on, 0 to validate" in said


def test_more_folders_and_validation_folders(data: tuple[str, str], tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(tmp_path / "vi", other / "vi")
    shutil.copytree(tmp_path / "ir", other / "ir")
    flags = ["--also", str(other), "--val", *data]
    assert cli.run(["train", *data, "-o", str(tmp_path / "run"), *QUICK, *flags]) == 0
    pairs = yaml.safe_load((tmp_path / "run" / "pairs.yaml").read_text())
    assert (len(pairs["train"]), len(pairs["validate"])) == (8, 4)


def test_flags_go_over_a_file_and_the_file_over_the_preset(
    data: tuple[str, str], tmp_path: Path
) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("learning_rate: 1e-3\nbatch: 4\n")
    run = ["train", *data, "-o", str(tmp_path / "run"), *QUICK, "--config", str(config)]
    assert cli.run(run) == 0
    stored = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert (stored["learning_rate"], stored["batch"]) == (1e-3, 2)
    assert stored["schedule"] == RECIPES["cddfuse"]["quick"].schedule


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (["--preset", "best"], "cddfuse has no preset best: known are released, paper, quick"),
        (["--recipe", "magic"], "there is no recipe magic: known are cddfuse"),
        (["--crop", "12"], "crop is 12: it must be at least 16"),
        (["--crop", "400"], "pairs are smaller than the crop of 400 pixels"),
        (["--batch", "9"], "fewer than a batch of 9"),
        (["--epochs", "1"], "two stages"),
        (["--colour", "red"], "Unknown option: --colour"),
        (["--schedule", "steep"], "schedule"),
        (["--config", "nowhere.yaml"], "there is no recipe nowhere.yaml"),
        (["--weights", "nothing.pth"], "there are no weights nothing.pth"),
        (["--val", "nowhere"], "there is no folder nowhere"),
    ],
)
def test_wrong_settings_get_one_sentence(
    data: tuple[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: list[str],
    sentence: str,
) -> None:
    quick = QUICK[: QUICK.index("--epochs")] if "--epochs" in change else QUICK
    if change[0] in quick:
        at = quick.index(change[0])
        quick = [*quick[:at], *quick[at + 2 :]]
    assert cli.run(["train", *data, "-o", str(tmp_path / "run"), *quick, *change]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere"], "there is no folder nowhere"),
        ([], "name the folders to train on"),
        (["{empty}"], "{empty}"),
    ],
)
def test_wrong_data_get_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    filled = [argument.format(empty=tmp_path) for argument in arguments]
    assert cli.run(["train", *filled, "-o", str(tmp_path / "run"), *QUICK]) == 2
    assert sentence.format(empty=tmp_path) in capsys.readouterr().err


def test_a_run_is_not_overwritten(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (finished / "state.pt").read_bytes()
    folders = [str(finished.parent / kind) for kind in ("vi", "ir")]
    assert cli.run(["train", *folders, "-o", str(finished), *QUICK]) == 2
    assert "holds a run already: --resume it" in capsys.readouterr().err
    assert (finished / "state.pt").read_bytes() == before


def test_resuming_takes_no_settings(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["train", "-o", str(finished), "--resume", "--crop", "32"]) == 2
    assert "goes on by its own recipe" in capsys.readouterr().err


def test_resuming_needs_the_same_files(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = tmp_path / "run"
    shutil.copytree(finished, moved)
    text = (moved / "pairs.yaml").read_text()
    (moved / "pairs.yaml").write_text(text.replace("/vi/", "/gone/"))
    assert cli.run(["train", "-o", str(moved), "--resume", "--quiet"]) == 2
    assert "cannot go on without its data" in capsys.readouterr().err


def test_training_goes_on_from_given_weights(
    finished: Path, data: tuple[str, str], tmp_path: Path
) -> None:
    weights = str(finished / "weights.safetensors")
    losses = []
    for folder, more in (("fresh", []), ("tuned", ["--weights", weights])):
        run = ["train", *data, "-o", str(tmp_path / folder), *QUICK, "--val-share", "0", *more]
        assert cli.run(run) == 0
        with (tmp_path / folder / "log.csv").open() as file:
            losses.append(next(csv.DictReader(file))["total"])
    assert losses[0] != losses[1]
