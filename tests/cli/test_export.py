"""The verb `export`, and the files of it as weights."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from exporting import shallow

from cddfuse import fuse, read_image, read_pair, write_image
from cddfuse.cli import common, run
from cddfuse.models import FusionModel, create_model, save_weights
from cddfuse.models.exported import load_exported

Say = pytest.CaptureFixture[str]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """A pair."""
    random = torch.Generator().manual_seed(0)
    for name in ("vi", "ir"):
        write_image(tmp_path / f"{name}.png", torch.rand(1, 19, 26, generator=random))
    return [str(tmp_path / "vi.png"), str(tmp_path / "ir.png")]


def test_says_what_was_written(tmp_path: Path, capsys: Say) -> None:
    path = tmp_path / "mean.torchscript"
    assert run(["export", "mean", "-o", str(path), "--json"]) == 0
    printed, said = capsys.readouterr()
    assert f"exported mean as torchscript, PyTorch {torch.__version__}, 0.0 MB: {path}" in said
    assert "largest difference from fuse: 0.0e+00 at 64x48, 0.0e+00 at 51x37" in said
    report = json.loads(printed)
    assert report["format"] == "torchscript"
    assert report["bytes"] == path.stat().st_size
    assert list(report["differences"].values()) == [0, 0, 0]


@pytest.mark.filterwarnings("ignore:.*torch.jit.load:DeprecationWarning")
def test_weights_file_says_which_network(tmp_path: Path, capsys: Say) -> None:
    weights, path = tmp_path / "mine.safetensors", tmp_path / "mine.torchscript"
    torch.manual_seed(0)
    save_weights(create_model("tardal"), weights)
    assert run(["export", str(weights), "-o", str(path), "--format", "torchscript"]) == 0
    assert f"exported tardal ({weights})" in capsys.readouterr().err
    extra = {"cddfuse.json": ""}
    torch.jit.load(path, _extra_files=extra)
    facts = json.loads(extra["cddfuse.json"])
    assert facts["cddfuse.model"] == "tardal"
    assert facts["cddfuse.weights"] == "mine.safetensors"


def test_exit_code_of_other_values(tmp_path: Path, capsys: Say) -> None:
    path = tmp_path / "mean.torchscript"
    arguments = ["export", "mean", "-o", str(path), "--tolerance=-1", "--quiet"]
    assert run(arguments) == 1
    assert "torchscript gives other values than fuse" in capsys.readouterr().err
    assert not path.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mean", "-o", "there.onnx"], "there.onnx exists already"),
        (["mean", "-o", "mean.bin"], "has none of the suffixes"),
        (["nothing", "-o", "a.onnx"], "there is no network nothing"),
        (["untrained", "-o", "a.onnx"], "no weights of untrained are at hand"),
        (["there.onnx", "-o", "a.onnx"], "is exported already"),
        (["there.onnx", "--weights", "ivf", "-o", "a.onnx"], "leave other weights out (--weights)"),
    ],
)
def test_nothing_is_done(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Say
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.onnx").write_text("there")
    assert run(["export", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert [x.name for x in tmp_path.iterdir()] == ["there.onnx"]
    assert Path("there.onnx").read_text() == "there"


def test_fuse_runs_a_file(onnx_file: Path, files: list[str], tmp_path: Path) -> None:
    output = tmp_path / "fused.png"
    assert run(["fuse", *files, "-o", str(output), "--weights", str(onnx_file)]) == 0
    expected = fuse(shallow(), read_pair(*files))
    assert (read_image(output) - expected).abs().max() < 1.01 / 255


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "sdnet"], "holds cddfuse, not sdnet"),
        (["--option", "residual=sum"], "has its options in it: leave them out, or export the"),
        (["--device", "cuda"], "leave the device out (--device)"),
        (["--backend", "torch"], "leave the backend out (--backend)"),
        (["--precision", "bf16"], "is in single precision: choose the precision auto"),
    ],
)
def test_what_a_file_cannot_do(
    arguments: list[str], said: str, onnx_file: Path, files: list[str], tmp_path: Path, capsys: Say
) -> None:
    output = tmp_path / "fused.png"
    command = ["fuse", *files, "-o", str(output), "--weights", str(onnx_file)]
    assert run([*command, *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not output.exists()


def test_truncated_file_is_one_sentence(
    onnx_file: Path, files: list[str], tmp_path: Path, capsys: Say
) -> None:
    path, output = tmp_path / "cut.onnx", tmp_path / "fused.png"
    path.write_bytes(onnx_file.read_bytes()[:5000])
    assert run(["fuse", *files, "-o", str(output), "--weights", str(path)]) == 2
    said = capsys.readouterr().err
    assert said == f"cddfuse: {path} is damaged or no exported network: export it again.\n"


def test_backend_of_weights(
    onnx_file: Path,
    files: list[str],
    tmp_path: Path,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def run_by(model: FusionModel, backend: Any) -> FusionModel:
        asked.append((model.card.name, backend))
        return load_exported(onnx_file, backend)

    monkeypatch.setattr(common, "run_by", run_by)
    output = tmp_path / "fused.png"
    command = ["fuse", *files, "-o", str(output), "--weights", str(weights)]
    assert run([*command, "--backend", "onnxruntime"]) == 0
    assert asked == [("cddfuse", "onnxruntime")]
    assert run([*command, "--backend", "onnxruntime", "--device", "cuda"]) == 2


def test_evaluate_runs_a_file(onnx_file: Path, tmp_path: Path, capsys: Say) -> None:
    random = torch.Generator().manual_seed(0)
    for folder in ("vi", "ir"):
        write_image(tmp_path / folder / "1.png", torch.rand(1, 32, 32, generator=random))
    sources = ["--first", str(tmp_path / "vi"), "--second", str(tmp_path / "ir")]
    arguments = ["evaluate", *sources, "--metrics", "EN", "--json"]
    assert run([*arguments, "--weights", str(onnx_file)]) == 0
    assert '"cddfuse"' in capsys.readouterr().out
    assert run([*arguments, "--weights", "ivf"]) == 2
