"""Licences, hashes and the bill of materials."""

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tomllib")
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def supply() -> Any:
    sys.path.insert(0, str(ROOT / "scripts"))
    yield importlib.import_module("supply")
    sys.path.remove(str(ROOT / "scripts"))


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("Apache-2.0 WITH LLVM-exception AND BSD-3-Clause", True),
        ("GPL-3.0-only OR MIT", True),
        ("GPL-3.0-only", False),
        ("MIT AND AGPL-3.0-or-later", False),
        ("LGPL-2.1 WITH LLVM-exception", False),
        ("MIT WITH Some-exception", False),
        ("unknown", False),
    ],
)
def test_expressions(supply: Any, expression: str, allowed: bool) -> None:
    assert supply.is_allowed(expression) == allowed


def test_all_dependencies_of_users_are_allowed(supply: Any) -> None:
    found = supply.parts(supply.EXTRAS)
    names = {part.name.lower() for part in found}
    assert {"torch", "numpy", "av", "pydicom", "nibabel", "imagecodecs", "onnxruntime"} <= names
    assert "pytest" not in names
    assert [part for part in found if not part.allowed] == []


def test_what_is_locked_is_all_but_the_package(supply: Any) -> None:
    found = {supply.Requirement(text).name for text in supply.needed(["onnxruntime"])}
    assert {"torch", "onnx", "onnxruntime"} <= found
    assert "cddfuse" not in found
    assert "fastapi" not in found


def test_shipped_weights_are_those_of_the_cards(
    supply: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert supply.weights() == 0
    assert capsys.readouterr().out.count("\n") >= 10
    monkeypatch.setattr(supply.hashlib, "sha256", supply.hashlib.sha512)
    assert supply.weights() == 1


def test_commands_that_the_script_runs_are_there() -> None:
    for module in ("cyclonedx_py", "piptools"):
        pytest.importorskip(module)
        command = [sys.executable, "-m", module, "--help"]
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0
