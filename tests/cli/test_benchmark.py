"""The verbs `benchmark` and `data`."""

import json
import re
from pathlib import Path

import pytest
import torch

from cddfuse import write_image
from cddfuse.cli import app, run
from cddfuse.datasets.catalog import CATALOG

Say = pytest.CaptureFixture[str]


@pytest.fixture
def data(tmp_path: Path) -> str:
    rng = torch.Generator().manual_seed(0)
    for name in ("1", "2"):
        write_image(tmp_path / "data" / "vi" / f"{name}.png", torch.rand(3, 24, 32, generator=rng))
        write_image(tmp_path / "data" / "ir" / f"{name}.png", torch.rand(1, 24, 32, generator=rng))
    return f"mine={tmp_path / 'data'}"


def test_one_command_writes_tables_and_report(data: str, tmp_path: Path, capsys: Say) -> None:
    out = tmp_path / "out"
    words = ["benchmark", "--models", "laplacian", "guided", "--data", data, "-o", str(out)]
    words += ["--metrics", "EN", "TC", "--against", "guided"]
    assert run(words) == 0
    said = capsys.readouterr()
    assert "| laplacian | 2 |" in said.out
    assert f"written: {out / 'report.html'}" in said.err
    content = json.loads((out / "benchmark.json").read_text())
    assert content["reference"] == "guided"
    assert [row["label"] for row in content["tables"][0]["rows"]][:2] == ["laplacian", "guided"]
    assert run([*words, "--json"]) == 0
    said = capsys.readouterr()
    assert "kept from an earlier run: 3 results; new: 0" in said.err
    assert json.loads(said.out)["tables"] == content["tables"]


def test_a_failed_cell_is_listed_and_the_rest_is_done(
    data: str, tmp_path: Path, capsys: Say
) -> None:
    out = tmp_path / "out"
    (tmp_path / "data" / "ir" / "2.png").write_bytes(b"no image")
    words = ["--models", "laplacian", "--data", data, "--metrics", "EN"]
    assert run(["benchmark", *words, "-o", str(out), "--pictures", "0"]) == 1
    assert "failed: mine, laplacian: 2: " in capsys.readouterr().err
    assert "Failed: mine, laplacian: 2: " in (out / "tables.tex").read_text()
    assert "2.png" in (out / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--models", "cdfuse"], "there is no network cdfuse"),
        (["--metrics", "nothing"], "there is no metric nothing"),
        (["--profile", "nothing"], "there is no profile nothing"),
        (["--against", "nothing"], "there is no method nothing here"),
        (["--models", "rfnnest"], "rfnnest cannot be run"),
        (["--crops", "nothing"], "nothing is no region"),
        (["--crops", "other/1=0,0,5,5"], "other/1 is of no data set here: use mine"),
        (["--crops", "mine/3=0,0,5,5"], "mine/3 is of no pair that is scored: name one, such as 1"),
        (["--crops", "mine/1=30,0,5,5"], "30,0,5,5 of mine/1 is not within its 32x24 pixels"),
        (["--limit", "0"], "limit is 0"),
        (["--jobs", "0"], "jobs is 0"),
    ],
)
def test_slips_are_named_before_any_work(
    words: list[str], message: str, data: str, tmp_path: Path, capsys: Say
) -> None:
    out = tmp_path / "out"
    assert run(["benchmark", "--data", data, "-o", str(out), *words]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: [{model: mean, label: a, options: [1]}]", "options of mean must be a table"),
        ("data: {x: null}", "data set x is None: write its folder"),
        ("data: {x: [a, b]}", "data set x is ['a', 'b']: write its folder, two folders with"),
        ("data: {1: nowhere}", "nowhere"),
        ("published: {other: {a: [1, 2, 3, 4, 5, 6, 7, 8]}}", "names other, which is no data set"),
        ("published: {mine: {a: [1, 2, 3, 4, 5, 6, 7, .nan]}}", "the eight scores"),
        ("models: [\xe9]", "is no YAML"),
    ],
)
def test_slips_of_a_plan_are_one_sentence(
    text: str, message: str, data: str, tmp_path: Path, capsys: Say
) -> None:
    plan = tmp_path / "plan.yaml"
    assert run(["benchmark", str(plan), "--data", data, "-o", str(tmp_path / "out")]) == 2
    assert "there is no file or folder" in capsys.readouterr().err
    plan.write_bytes(text.encode("latin-1"))
    assert run(["benchmark", str(plan), "--data", data, "-o", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err.replace("\n", " ")


def test_a_file_in_place_of_the_folder_is_named(data: str, tmp_path: Path, capsys: Say) -> None:
    (tmp_path / "out").write_text("mine")
    assert run(["benchmark", "--data", data, "-o", str(tmp_path / "out")]) == 2
    assert "out is not a folder" in capsys.readouterr().err


def test_data_sets_are_listed(capsys: Say) -> None:
    assert run(["data", "list"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert "(unverified)" in lines["fmb"]
    assert "(unverified)" not in lines["llvip"]
    assert all(card.source in lines[name] for name, card in CATALOG.items())  # none is cut
    assert run(["data", "list", "--json"]) == 0
    cards = {card["name"]: card for card in json.loads(capsys.readouterr().out)}
    assert len(cards["tno"]["names"]["test"]) == 25


def test_a_folder_is_checked(data: str, tmp_path: Path, capsys: Say) -> None:
    folder = str(tmp_path / "data")
    assert run(["data", "check", folder, "--name", "fmb"]) == 0
    assert "FMB: 2 pairs" in capsys.readouterr().out
    assert run(["data", "check", folder]) == 2
    assert "(--name)" in capsys.readouterr().err
    assert run(["data", "check", str(tmp_path / "nowhere"), "--name", "fmb"]) == 2
    assert capsys.readouterr().err.strip().endswith("nowhere: give that of FMB.")
    cut = tmp_path / "data" / "vi" / "2.png"
    cut.write_bytes(cut.read_bytes()[:-300])
    assert run(["data", "check", folder, "--name", "fmb"]) == 1
    assert "2 cannot be read" in capsys.readouterr().out
    (tmp_path / "data" / "ir" / "1.png").unlink()
    assert run(["data", "check", folder, "--name", "fmb", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["pairs"] == 1


def test_pairs_that_a_split_lacks_are_named(data: str, tmp_path: Path, capsys: Say) -> None:
    folder = tmp_path / "data"
    for side in ("vi", "ir"):
        (folder / side / "1.png").rename(folder / side / "01.png")
        (folder / side / "2.png").rename(folder / side / "02.png")
    assert run(["data", "check", str(folder), "--name", "tno"]) == 1
    assert "split test lacks 23 of its pairs: 03, 04, 05, 06, 07, ..." in capsys.readouterr().out


def test_commands_of_the_page_are_understood() -> None:
    page = (Path(__file__).parents[2] / "docs" / "benchmark.md").read_text()
    commands = re.findall(r"^(cddfuse [^#\n]*)", page, re.MULTILINE)
    assert len(commands) >= 8
    for command in commands:
        app.parse_args(command.split()[1:], exit_on_error=False, print_error=False)
