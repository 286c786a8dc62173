"""What the command says about itself."""

import importlib
import subprocess
import sys
from inspect import isfunction

import pytest

from cddfuse.cli import VERBS, run

Say = pytest.CaptureFixture[str]


def test_help_says_what_each_verb_does(capsys: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without importing any of them: training needs packages that others may not have."""
    for name in VERBS:
        monkeypatch.setitem(sys.modules, f"cddfuse.cli.{name}", None)
    assert run(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = [line for line in lines if line.strip("│ ").split(" ")[0] in VERBS]
    assert len(found) == len(VERBS)
    for line, (name, verb) in zip(found, VERBS.items(), strict=True):
        assert line.strip("│ ").removeprefix(name).strip() == verb.summary


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_is_its_docstring(verb: str, capsys: Say) -> None:
    assert run([verb, "--help"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"Usage: cddfuse {verb}" in out
    module, _, name = VERBS[verb].function.partition(":")
    target = getattr(importlib.import_module(module), name)
    text = str(target.__doc__ if isfunction(target) else target.help)  # or an app of its own
    first, *_ = text.replace("`", "").split("\n\n")
    assert " ".join(first.split()) in out
    assert any(word in out for word in ("--json", "--overwrite", "--resume", "Commands"))


def test_clips_and_volumes_are_imported_when_they_are_named() -> None:
    """Every command would wait for them."""
    program = "import sys, cddfuse.cli.fuse, cddfuse.cli.evaluate; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", program], text=True).split()
    assert "cddfuse.io.image_files" in loaded
    late = {"huggingface_hub", "httpx", "httpx2", "filelock", "anyio", "numba", "scipy", "sympy"}
    late |= {"av", "pydicom", "nibabel", "tifffile", "onnxruntime", "lightning", "matplotlib"}
    late |= {f"cddfuse.io.{name}" for name in ("video.clip", "volumes.pair", "tiff_clips")}
    assert not late.intersection(loaded)
