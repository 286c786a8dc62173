"""The benchmark of kernels runs where there is no GPU, and finds what is further off."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from cddfuse import create_model
from cddfuse.runtime import Limits


def test_a_small_size_on_a_cpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "out.json"
    words = ["--sizes", "20x16", "--kernels", "auto", "eager", "triton", "--turns", "1"]
    assert gpu.main([*words, "--device", "cpu", "--json", str(file)]) == 0
    out = capsys.readouterr().out
    assert "triton: left out, Triton needs a CUDA GPU, and this is cpu" in out
    rows = json.loads(file.read_text())["sizes"]["20x16"]
    assert "graphs: left out, CUDA graphs need a CUDA GPU, and this is cpu" in out
    assert [row["name"] for row in rows] == ["auto, fp32", "auto", "eager", "eager, bands"]
    assert all(f"| {row['name']} | {row['milliseconds']:.1f} |" in out for row in rows)
    assert all(0 < row["levels_max"] < 0.01 for row in rows[2:])


def test_ways_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "lacking", lambda name, _: "no Triton" if name == "triton" else "")
    given = torch.device("cuda"), ["auto", "eager", "triton"], 60, "auto"
    ways = gpu.ways_of(create_model("cddfuse"), *given)  # type: ignore[arg-type]
    plain = ["auto, fp32", "auto", "eager", "eager, bands"]
    assert list(ways) == [*plain, *(f"{name}, graphs" for name in plain)]
    assert ways["eager, bands, graphs"] == Limits(kernels="eager", band=60, graphs=True)
    small = gpu.ways_of(create_model("cddfuse_small"), *given)  # type: ignore[arg-type]
    assert list(small) == ["auto, fp32", "auto", "auto, fp32, graphs", "auto, graphs"]


def test_what_is_further_off_than_the_default_is_found() -> None:
    def way(name: str, off: float) -> gpu.Way:
        return gpu.Way(name, 1, 1, 1, None, off, off, off)

    ways = [way("auto, fp32", 0), way("auto", 0.3), way("eager", 0.35), way("compile", 0.5)]
    assert gpu.further_off(ways) == ["compile"]
    assert gpu.further_off([*ways, way("triton", float("nan"))]) == ["compile", "triton"]
    assert gpu.further_off([way("auto", 0), way("eager", 0.009)]) == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_all_kernels_on_a_gpu() -> None:
    assert gpu.main(["--sizes", "210x130", "--turns", "1", "--device", "cuda"]) == 0
