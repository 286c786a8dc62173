"""What verbs print may get lost, what they have done may not."""

import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import pytest
import torch
from rich.console import Console
from rich.table import Table

from cddfuse.cli import VERBS, run
from cddfuse.cli.common import print_table
from cddfuse.cli.streams import tolerant
from cddfuse.io import write_image

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
FILES = {"per_image.csv", "summary.json", "summary.md", "summary.tex"}
Say = pytest.CaptureFixture[str]


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pair and its result, and a pair that has none."""
    monkeypatch.chdir(tmp_path)
    for folder, level in (("vi", 0.2), ("ir", 0.4), ("out", 0.3)):
        (tmp_path / folder).mkdir()
        for name in ("a", "ü↑"):
            if (folder, name) != ("out", "ü↑"):
                write_image(tmp_path / folder / f"{name}.png", torch.full((1, 4, 5), level))
    return tmp_path


EVALUATE = ["evaluate", "out", "--first", "vi", "--second", "ir", "--metrics", "EN", "MSE"]


def report(scene: Path) -> set[str]:
    return {path.name for path in (scene / "report").iterdir()}


def closed_pipe() -> TextIO:
    reading, writing = os.pipe()
    os.close(reading)
    return open(writing, "w", encoding="utf-8")


def full_disk() -> TextIO:
    return FULL.open("w", encoding="utf-8")


def test_reader_that_leaves(scene: Path, monkeypatch: pytest.MonkeyPatch, capsys: Say) -> None:
    with closed_pipe() as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert run([*EVALUATE, "-o", "report"]) == 1  # for the pair without a result
    assert report(scene) == FILES
    err = capsys.readouterr().err
    assert err == "no result: ü↑\nreport: report\n"


@pytest.mark.parametrize("verb", VERBS)
def test_reader_of_help_that_leaves(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: Say
) -> None:
    with closed_pipe() as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert run([verb, "--help"]) == 0
        assert run(["models", "--json"]) == 0
    assert not capsys.readouterr().err


@needs_full
def test_full_disk(scene: Path, monkeypatch: pytest.MonkeyPatch, capsys: Say) -> None:
    with full_disk() as disk:
        monkeypatch.setattr(sys, "stdout", disk)
        (scene / "vi" / "ü↑.png").unlink()
        (scene / "ir" / "ü↑.png").unlink()
        assert run([*EVALUATE, "-o", "report"]) == 1
    assert report(scene) == FILES
    *_, last = capsys.readouterr().err.splitlines()
    assert last == "cddfuse: what was printed could not be written (No space left on device)."


@pytest.mark.parametrize("stream", [closed_pipe, pytest.param(full_disk, marks=needs_full)])
def test_standard_error_that_fails(
    scene: Path, monkeypatch: pytest.MonkeyPatch, capsys: Say, stream: Callable[[], TextIO]
) -> None:
    with stream() as broken:
        monkeypatch.setattr(sys, "stderr", broken)
        assert run([*EVALUATE, "-o", "report"]) == 1
    assert report(scene) == FILES
    assert "MSE ↓" in capsys.readouterr().out


def test_streams_that_are_closed(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert run([*EVALUATE, "-o", "report"]) == 1
    assert report(scene) == FILES
    assert sys.stdout is None


def test_report_comes_before_printing(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*arguments: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("cddfuse.cli.evaluate._print", failing)
    with pytest.raises(ZeroDivisionError):
        run([*EVALUATE, "-o", "report"])
    assert report(scene) == FILES


def test_report_that_cannot_be_written_leaves_the_scores_on_the_screen(
    scene: Path, monkeypatch: pytest.MonkeyPatch, capsys: Say
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    for folder in ("vi", "ir"):
        (scene / folder / "ü↑.png").unlink()
    monkeypatch.setattr(Path, "write_text", full)
    assert run([*EVALUATE, "-o", "report"]) == 1
    out, err = capsys.readouterr()
    assert "MSE ↓" in out
    assert "the disk is full" in err.splitlines()[-1]
    assert "report: report" not in err


def test_characters_that_an_encoding_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "cp1252"))
    with tolerant():
        print("EN ↑, ü, \u0142, \udcff")
    assert raw.getvalue() == b"EN ^, \xfc, \\u0142, \\udcff" + os.linesep.encode()


def test_cp1252(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "cp1252"))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), "ascii"))
    assert run([*EVALUATE, "-o", "report"]) == 1
    assert report(scene) == FILES
    out = raw.getvalue().decode("cp1252")
    assert "EN ^" in out
    assert "MSE v" in out
    assert "| EN" in out  # no box-drawing characters
    assert "↓" in (scene / "report" / "summary.md").read_text("utf-8")


def test_program(scene: Path) -> None:
    """The whole of it as a process: a pipe that is closed, an old encoding, no streams at all."""
    command = [sys.executable, "-m", "cddfuse", *EVALUATE, "-o", "report", "--overwrite"]
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    with closed_pipe() as pipe:
        done = subprocess.run(
            command, stdout=pipe, stderr=subprocess.PIPE, env=environment, check=False
        )
    assert done.returncode == 1
    assert done.stderr == b"no result: \xfc^\r\nreport: report\r\n".replace(
        b"\r\n", os.linesep.encode()
    )
    assert report(scene) == FILES


@pytest.mark.skipif(os.name != "posix", reason="needs a shell that closes streams")
def test_program_without_streams(scene: Path) -> None:
    command = f"{sys.executable} -m cddfuse {' '.join(EVALUATE)} -o report <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], check=False).returncode == 1
    assert report(scene) == FILES


@pytest.mark.parametrize("width", [None, 40])
def test_tables_are_never_cut(width: int | None) -> None:
    """Neither on a narrow terminal nor in a file, where no cell is wrapped either."""
    address = "https://example.org/" + "x" * 200
    table = Table("name", "numbers", "source")
    table.add_row("sentence of several words", "39.522", address)
    written = io.StringIO()
    console = Console(file=written, width=width or 40, force_terminal=width is not None)
    print_table(console, table)
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in _rows(written)]
    whole = ["".join(column) for column in zip(*cells, strict=True)]
    assert whole[1:] == ["39.522", address]
    assert len(cells) == 1 or width


def _rows(written: io.StringIO) -> list[str]:
    plain = re.sub(r"\x1b\[[0-9;]*m", "", written.getvalue())
    return [line for line in plain.splitlines() if line.startswith("│")]
