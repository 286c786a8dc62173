"""`scripts/fuzz guided` uses inputs, ends at a fault and keeps it; skipped without atheris."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("atheris", reason="atheris is not installed")

_ROOT = Path(__file__).parents[2]
_FAULTY = """
import sys
from pathlib import Path
from fuzz import targets

def act(path, random):
    if b"!" in path.read_bytes():
        raise ValueError("mine")

targets.TARGETS = {"mine": targets.Target(lambda: {"a.txt": b"abc"}, act, 1)}
from fuzz.guided import run
run("mine", 1, Path(sys.argv[1]), again=Path(sys.argv[2]) if sys.argv[2:] else None)
"""


def _python(*arguments: object) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(_ROOT / "src"), str(_ROOT / "tests"), *sys.path])
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def test_inputs_are_used(tmp_path: Path) -> None:
    done = _python("-m", "fuzz.guided", "transform", "--inputs", 60, "--keep", tmp_path)
    assert done.returncode == 0, done.stdout
    assert "Done 60 runs" in done.stdout
    assert list((tmp_path / "transform").glob("seed-*"))
    assert not list((tmp_path / "room").iterdir())


def test_a_fault_ends_it_and_is_kept(tmp_path: Path) -> None:
    program = tmp_path / "faulty.py"
    program.write_text(_FAULTY)
    found = _python(program, tmp_path)
    assert found.returncode != 0
    assert "ValueError: mine" in found.stdout
    (kept,) = tmp_path.glob("fault-mine-*")
    again = _python(program, tmp_path, kept)
    assert again.returncode != 0
    assert "ValueError: mine" in again.stdout
