"""What an installation runs on, in one place."""

import json
import sys

import pytest
import torch

from cddfuse.cli import run
from cddfuse.runtime.cddfuse.engine import engine


def test_facts_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["versions"]["torch"] == torch.__version__
    assert found["processor"]["threads of PyTorch"] == torch.get_num_threads()
    assert bool(torch.cuda.is_available()) != ("none" in found["GPUs"])


def test_engine_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == 0
    out = capsys.readouterr().out
    device = "cpu" if torch.accelerator.current_accelerator(check_available=True) is None else ""
    assert f"device: {device}" in out
    assert "because: " in out


def test_engine_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine(torch.device("cpu")).name == "patches, compiled kernels, fp32"
    monkeypatch.delattr("cddfuse.runtime.cddfuse.kernels", raising=False)
    monkeypatch.setitem(sys.modules, "cddfuse.runtime.cddfuse.kernels", None)
    found = engine(torch.device("cpu"))
    assert found.name == "patches, PyTorch, fp32"
    assert "Numba cannot be used" in found.reason


def test_kernels_and_what_they_lack(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["kernels"]
    assert list(found) == ["auto", "eager", "compile", "triton", "graphs"]
    assert found["eager"] == "yes, if chosen: made for GPUs, not measured on one yet"
    assert found["triton"].startswith("no: " if not torch.cuda.is_available() else "")
    wanted = "yes, if chosen: " if torch.cuda.is_available() else "no: CUDA graphs need a CUDA GPU"
    assert found["graphs"].startswith(wanted)
