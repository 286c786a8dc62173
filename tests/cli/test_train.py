"""`cddfuse train`: what it is given, what it leaves, what it refuses."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from safetensors import safe_open
from training import write_pairs

from cddfuse import cli
from cddfuse.losses import LOSSES
from cddfuse.models import create_model, save_weights
from cddfuse.recipes import RECIPES
from cddfuse.train import STATE
from cddfuse.train.data import RunData, chosen
from cddfuse.train.running import LOCK, claimed

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
    assert (len(pairs["train"]), len(pairs["val"])) == (3, 1)
    assert yaml.safe_load(header(finished / "weights.safetensors")["cddfuse.recipe"]) == stored


def test_weights_of_a_run_fuse(finished: Path, tmp_path: Path) -> None:
    first, second = (finished.parent / kind / "00.png" for kind in ("vi", "ir"))
    weights = str(finished / "weights.safetensors")
    fused = tmp_path / "fused.png"
    assert cli.run(["fuse", str(first), str(second), "-o", str(fused), "--weights", weights]) == 0
    assert fused.is_file()


def test_a_run_claims_its_folder_before_it_writes(
    data: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "run"
    given = ["train", *data, "-o", str(out), *QUICK]
    lock = claimed(out)
    assert cli.run(given) == 2
    assert f"another run is at work in {out}: wait until it ends" in capsys.readouterr().err
    assert {path.name for path in out.iterdir()} == {LOCK}
    lock.release()

    def meanwhile(*arguments: Any) -> RunData:
        (out / STATE).touch()
        return chosen(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr("cddfuse.train.start.chosen", meanwhile)
        assert cli.run(given) == 2
    assert f"another run began in {out} meanwhile" in capsys.readouterr().err
    assert not (out / "recipe.yaml").exists()
    (out / STATE).unlink()
    assert cli.run(given) == 0  # both have let go of it


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


def test_more_folders_and_validation_folders(
    data: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(tmp_path / "vi", other / "vi")
    shutil.copytree(tmp_path / "ir", other / "ir")
    flags = ["--extra-data", str(other), "--val", *data]
    loud = [flag for flag in QUICK if flag != "--quiet"]
    assert cli.run(["train", *data, "-o", str(tmp_path / "run"), *loud, *flags]) == 0
    assert "4 of 4 validation pairs are trained on too: 00" in capsys.readouterr().err
    pairs = yaml.safe_load((tmp_path / "run" / "pairs.yaml").read_text())
    assert (len(pairs["train"]), len(pairs["val"])) == (8, 4)


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
        (["--config", "nowhere.yaml"], "cannot read nowhere.yaml"),
        (["--val-share", "1.5"], "share of validation pairs is 1.5: it must be at least 0 and"),
        (["--val-share", "1"], "share of validation pairs is 1.0"),
        (["--val-share", "-1"], "share of validation pairs is -1.0"),
        (["--val-share", "nan"], "share of validation pairs is nan"),
        (["--val-group", "-1"], "(--val-group)."),
        (["--learning-rate", "inf"], "learning_rate is inf: it must be finite (--learning-rate)."),
        (["--loss", "sharp=2"], "there is no loss sharp: known are intensity_l2"),
        (["--loss", "ssim"], "ssim is no loss with its weight, such as ssim=9 (--loss)."),
        (["--loss", "ssim=nan"], "the weight of ssim is nan"),
        (["--log-terms", "sharp"], "there is no term sharp to log"),
        (["--accumulate", "4"], "a batch of 2 cannot be divided among 4 parts"),
        (["--accumulate", "0"], "accumulate is 0: it must be at least 1 (--accumulate)."),
        (["--save-every", "nan"], "save_every is nan: it must be at least 0 (--save-every)."),
        (["--devices", "-1"], "devices is -1: it must be at least 1 (--devices)."),
        (["--accelerator", "abacus"], "there is no accelerator abacus with 1 devices here"),
        (["--cache", "much"], "much is no amount of memory"),
        (["--extra-data", "nowhere"], "there is no folder nowhere"),
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
    assert "holds a run already: resume it" in capsys.readouterr().err
    assert (finished / "state.pt").read_bytes() == before


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


# Options of the network


def header(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return file.metadata()


@pytest.fixture(scope="module")
def unusual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a network that is not the default one."""
    path = tmp_path_factory.mktemp("weights") / "unusual.safetensors"
    save_weights(create_model("cddfuse", residual="none"), path)
    return path


def test_weights_decide_the_options_of_the_network_to_the_end_of_the_run(
    data: tuple[str, str], tmp_path: Path, unusual: Path
) -> None:
    run, start = str(tmp_path / "run"), ["--weights", str(unusual), "--stop-after", "1e-9"]
    assert cli.run(["train", *data, "-o", run, *QUICK, *start]) == 130
    assert yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())["residual"] == "none"
    assert cli.run(["train", "-o", run, "--resume", "--quiet"]) == 0
    resumed = header(tmp_path / "run" / "weights.safetensors")
    assert json.loads(resumed["cddfuse.options"])["residual"] == "none"
    assert yaml.safe_load(resumed["cddfuse.recipe"])["residual"] == "none"


@pytest.mark.parametrize("by", ["flag", "file"])
def test_options_that_contradict_the_weights_are_refused(
    data: tuple[str, str],
    tmp_path: Path,
    unusual: Path,
    capsys: pytest.CaptureFixture[str],
    by: str,
) -> None:
    (tmp_path / "mine.yaml").write_text(f"weights: {unusual}\nresidual: sum\n")
    flags = {
        "flag": ["--weights", str(unusual), "--residual", "sum"],
        "file": ["--config", str(tmp_path / "mine.yaml")],
    }
    assert cli.run(["train", *data, "-o", str(tmp_path / "run"), *QUICK, *flags[by]]) == 2
    said = capsys.readouterr().err
    assert "are of a network with residual none, not sum" in said
    assert said.endswith("(--residual).\n")
    assert not (tmp_path / "run").exists()
    same = ["--weights", str(unusual), "--residual", "none"]
    assert cli.run(["train", *data, "-o", str(tmp_path / "run"), *QUICK, *same]) == 0


# Losses


def test_losses_of_flags_go_over_those_of_a_file(data: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("loss: {ssim: 9, vif: 2}\nmi_bins: 32\n")
    flags = ["--config", str(tmp_path / "mine.yaml"), "--loss", "vif=0", "scd=24"]
    log = ["--log-terms", "qabf", "correlation_base"]
    run = tmp_path / "run"
    assert cli.run(["train", *data, "-o", str(run), *QUICK, *flags, *log, "--val-share", "0"]) == 0
    stored = yaml.safe_load((run / "recipe.yaml").read_text())
    assert stored["loss"] == {"ssim": 9, "vif": 0, "scd": 24}
    assert stored["mi_bins"] == 32
    with (run / "log.csv").open() as file:
        last = list(csv.DictReader(file))[-1]
    assert last["stage"] == "fuse"
    assert all(last[name] for name in ("ssim", "scd", "qabf", "correlation_base", "intensity"))
    assert "vif" not in last


# Data


def test_second_images_are_resized_only_if_asked_for(
    data: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (tmp_path / "ir").iterdir():
        with Image.open(path) as image:
            half = image.resize((12, 12))
        half.save(path)
    loud = [flag for flag in QUICK if flag != "--quiet"]
    assert cli.run(["train", *data, "-o", str(tmp_path / "one"), *loud]) == 2
    said = capsys.readouterr().err
    assert said.count("left out: ") == 4
    assert "resize" in said
    run = str(tmp_path / "two")
    stop = ["--resize", "--stop-after", "1e-9"]
    assert cli.run(["train", *data, "-o", run, *QUICK, *stop]) == 130
    assert cli.run(["train", "-o", run, "--resume", "--quiet"]) == 0


@pytest.mark.parametrize("sampling", ["grid", "random"])
def test_advice_on_too_few_crops_names_what_helps(
    data: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], sampling: str
) -> None:
    flags = ["--crop", "16", "--sampling", sampling, "--batch", "9", "--quiet"]
    assert cli.run(["train", *data, "-o", str(tmp_path / "run"), *flags]) == 2
    said = capsys.readouterr().err
    assert ("stride" in said) == ("min_contrast" in said) == (sampling == "grid")
    assert "--resize" not in said


# Help


def test_help_lists_the_settings_of_the_chosen_recipe_in_groups(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text("method: sdnet\n")
    asked = {
        "cddfuse": [],
        "sdnet": ["--recipe", "sdnet"],
        "sdnet by file": ["--config", str(tmp_path / "mine.yaml")],
    }
    said = {}
    for name, flags in asked.items():
        assert cli.run(["train", *flags, "--help"]) == 0
        said[name] = capsys.readouterr().out
        for group in ("Data", "Recipe", "Loss", "Optimizer", "Network", "Running"):
            assert f"─ {group} ─" in said[name]
    assert "--freeze-encoder" in said["cddfuse"]
    assert "--leading" not in said["cddfuse"]
    assert "--leading" in said["sdnet"]
    assert "--freeze-encoder" not in said["sdnet"]
    assert said["sdnet by file"].split() == said["sdnet"].split()
    rows = [name for name in LOSSES if not hasattr(RECIPES["cddfuse"]["released"], name)]
    text = " ".join(said["cddfuse"].replace("│", " ").split())
    assert all(f" {name} (" in text for name in rows)
    assert "Passes over the data in each stage. [quick: 1 3]" in text


def test_flags_of_another_recipe_are_refused(
    data: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["train", *data, "-o", str(tmp_path / "run"), "--leading", "first"]) == 2
    assert "Unknown option: --leading" in capsys.readouterr().err
    (tmp_path / "mine.yaml").write_text("method: sdnet\n")
    flags = ["--recipe", "cddfuse", "--config", str(tmp_path / "mine.yaml")]
    assert cli.run(["train", *data, "-o", str(tmp_path / "run"), *flags]) == 2
    assert "holds settings of sdnet, not of cddfuse (--recipe)." in capsys.readouterr().err
