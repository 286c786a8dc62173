"""The verbs `benchmark` and `data`."""

import json
import re
from pathlib import Path

import pytest
import torch

from cddfuse import write_image
from cddfuse.cli import app, run

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
    words = ["--models", "laplacian", "rfnnest", "--data", data, "--metrics", "EN"]
    assert run(["benchmark", *words, "-o", str(out), "--pictures", "0"]) == 1
    assert "failed: mine, rfnnest: " in capsys.readouterr().err
    assert "rfnnest" in (out / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--models", "cdfuse"], "there is no network cdfuse"),
        (["--metrics", "nothing"], "there is no metric nothing"),
        (["--profile", "nothing"], "there is no profile nothing"),
        (["--against", "nothing"], "there is no method nothing here"),
        (["--crops", "nothing"], "nothing is no region"),
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


def test_a_file_in_place_of_the_folder_is_named(data: str, tmp_path: Path, capsys: Say) -> None:
    (tmp_path / "out").write_text("mine")
    assert run(["benchmark", "--data", data, "-o", str(tmp_path / "out")]) == 2
    assert "out is not a folder" in capsys.readouterr().err


def test_data_sets_are_listed(capsys: Say) -> None:
    assert run(["data", "list"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert "(unverified)" in lines["fmb"]
    assert "(unverified)" not in lines["llvip"]
    assert "roadscene" in lines
    assert run(["data", "list", "--json"]) == 0
    cards = {card["name"]: card for card in json.loads(capsys.readouterr().out)}
    assert len(cards["tno"]["names"]["test"]) == 25


def test_a_folder_is_checked(data: str, tmp_path: Path, capsys: Say) -> None:
    folder = str(tmp_path / "data")
    assert run(["data", "check", folder, "--name", "tno"]) == 0
    assert "TNO: 2 pairs" in capsys.readouterr().out
    assert run(["data", "check", folder]) == 2
    assert "(--name)" in capsys.readouterr().err
    (tmp_path / "data" / "ir" / "1.png").unlink()
    assert run(["data", "check", folder, "--name", "tno", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["pairs"] == 1


def test_commands_of_the_page_are_understood() -> None:
    page = (Path(__file__).parents[2] / "docs" / "benchmark.md").read_text()
    commands = re.findall(r"^(cddfuse [^#\n]*)", page, re.MULTILINE)
    assert len(commands) >= 8
    for command in commands:
        app.parse_args(command.split()[1:], exit_on_error=False, print_error=False)
