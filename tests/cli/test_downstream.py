"""The verb `downstream`."""

import json
from pathlib import Path

import pytest
from warm_objects import write

from cddfuse.cli import run

Say = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("data") / "own")


QUICK = ["--steps", "2", "--batch", "2", "--jobs", "1", "--shares", "8:0:4", "--device", "cpu"]


def test_one_command_writes_tables_and_a_picture(data: Path, tmp_path: Path, capsys: Say) -> None:
    words = ["downstream", "detect", str(data), "-o", str(tmp_path / "out"), *QUICK, "--seeds", "1"]
    words += ["--inputs", "vi", "ir", "mean", "max", "--correlate", "person"]
    assert run(words) == 0
    said = capsys.readouterr()
    assert "| ir |" in said.out
    assert "Difference: to the better of vi and ir" in said.out
    for name in ("tables.md", "tables.tex", "detect.png", "correlation.md", "correlation.png"):
        assert f"written: {tmp_path / 'out' / name}" in said.err
    assert "| TC |" in (tmp_path / "out" / "correlation.md").read_text()
    assert run([*words, "--json"]) == 0
    said = capsys.readouterr()
    assert "kept: 4 trainings; new: 0" in said.err
    content = json.loads(said.out)
    assert content["classes"] == ["person", "lamp"]
    assert content["training"]["steps"] == 2


def test_classes_are_mapped_and_a_split_is_used_again(data: Path, tmp_path: Path) -> None:
    words = [
        "downstream",
        "segment",
        str(data),
        *QUICK,
        "--seeds",
        "1",
        "--inputs",
        "vi",
        "--quiet",
    ]
    words += ["--map", "lamp=", "--pictures", "0", "--segmenter", "unet"]
    assert run([*words, "-o", str(tmp_path / "one")]) == 0
    split = tmp_path / "one" / "split.txt"
    assert run([*words, "-o", str(tmp_path / "two"), "--split", str(split)]) == 0
    one, two = (
        json.loads((tmp_path / name / "downstream.json").read_text()) for name in ("one", "two")
    )
    assert one["classes"] == ["ground", "person"]
    assert one["split"]["sha256"] == two["split"]["sha256"]
    assert one["tables"] == two["tables"]


@pytest.mark.parametrize(
    ("task", "words", "message"),
    [
        ("detect", ["--detector", "nothing"], "there is no detector nothing"),
        ("segment", ["--segmenter", "pspnet"], "use deeplabv3plus, unet, segformer (--segmenter)."),
        ("detect", ["--inputs", "nothing"], "there is no input nothing"),
        ("detect", ["--budget", "soon"], "soon is no time"),
        ("detect", ["--scene", "("], "( is no pattern"),
        ("detect", ["--map", "lamp"], "lamp renames no class"),
        ("detect", ["--map", "bus="], "no class bus to rename"),
        ("detect", ["--classes", "person"], "class number 1"),
        ("detect", ["--name", "nothing"], "there is no data set nothing"),
        ("detect", ["--seeds", "0"], "seeds is 0"),
        ("detect", ["--pictures=-1"], "use 0 or more (--pictures)"),
        (
            "detect",
            ["--correlate", "boat"],
            "no class boat: use person, lamp, or mean",
        ),
        ("detect", ["--correlate", "mean", "--inputs", "vi", "ir", "mean", "early"], "3 rows with"),
    ],
)
def test_slips_are_named(
    task: str, words: list[str], message: str, data: Path, tmp_path: Path, capsys: Say
) -> None:
    out = tmp_path / "out"
    assert run(["downstream", task, str(data), "-o", str(out), *QUICK, *words]) == 2
    assert message in capsys.readouterr().err
    assert not (out / "networks").exists()


@pytest.mark.parametrize("library", ["libreyolo", "yolo"])
def test_instruments_that_are_not_installed_are_one_sentence(
    library: str,
    data: Path,
    tmp_path: Path,
    capsys: Say,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "libreyolo", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    name = "yolox" if library == "libreyolo" else "yolo"
    words = ["downstream", "detect", str(data), "-o", str(tmp_path / "out"), "--inputs", "vi"]
    assert run([*words, *QUICK, "--detector", name]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert library in line
    assert line.endswith("(--detector).")
