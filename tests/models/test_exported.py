"""Exported files are foreign input."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from exporting import pair, shallow

from cddfuse import ImagePair, InputError, fuse
from cddfuse.export.graphs import Graph
from cddfuse.models import Card
from cddfuse.models.exported import Exported, is_exported, load_exported
from cddfuse.runtime import Limits
from cddfuse.runtime.memory import needed, tensor_bytes


def test_a_batch_is_fused_one_by_one(onnx_file: Path) -> None:
    exported = load_exported(onnx_file)
    first, second, _ = pair(16, 24)
    batch = ImagePair(torch.stack([first, second]), torch.stack([second, first]))
    together = fuse(exported, batch)
    torch.testing.assert_close(together[0], fuse(exported, pair(16, 24)))
    assert not torch.allclose(together[0], together[1])


def test_tiles_are_those_of_any_network(onnx_file: Path) -> None:
    exported = load_exported(onnx_file)
    tiled = fuse(exported, pair(70, 90), limits=Limits(tile=64))
    whole = fuse(exported, pair(70, 90))
    assert 0 < (tiled - whole).abs().max() < 0.1


def test_a_file_says_what_memory_it_takes(
    onnx_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    exported = load_exported(onnx_file)
    counted = tensor_bytes(Graph(shallow()), 1, 256, 256)
    assert exported.card.bytes_per_pixel == round(2 * counted / 256**2)
    budget = needed(exported, 1, 70, 140) - 1
    fuse(exported, pair(70, 140), limits=Limits(memory=budget))
    assert "tiles of 64 pixels, blended where they overlap" in caplog.text


def test_half_precision_is_refused(onnx_file: Path) -> None:
    with pytest.raises(InputError, match="choose the precision auto"):
        fuse(load_exported(onnx_file), pair(16, 24), limits=Limits(precision="bf16"))


def test_it_is_ready_to_fuse_and_has_nothing_to_learn(onnx_file: Path) -> None:
    exported = load_exported(onnx_file)
    assert not exported.training
    assert not list(exported.parameters())
    assert exported.card.name == "cddfuse"
    assert exported.card.smallest == shallow().card.smallest


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
@pytest.mark.parametrize("content", ["", "nothing of the kind", "half"])
def test_damaged_files_are_one_sentence(
    suffix: str, content: str, onnx_file: Path, tmp_path: Path
) -> None:
    if suffix == ".xml":
        pytest.importorskip("openvino", reason="the extra openvino is 180 MB and not among dev")
    path = tmp_path / f"network{suffix}"
    whole = onnx_file.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content == "half" else content.encode())
    with pytest.raises(InputError, match="is damaged or no exported network"):
        load_exported(path)


def test_a_cut_bin_beside_an_xml_is_refused(onnx_file: Path, tmp_path: Path) -> None:
    openvino: Any = pytest.importorskip(
        "openvino", reason="the extra openvino is 180 MB and not among dev"
    )
    path = tmp_path / "network.xml"
    openvino.save_model(openvino.Core().read_model(str(onnx_file)), str(path))
    beside = path.with_suffix(".bin")
    beside.write_bytes(beside.read_bytes()[:1000])
    with pytest.raises(InputError, match="is damaged or no exported network"):
        load_exported(path)
    beside.unlink()
    with pytest.raises(InputError, match="is damaged or no exported network"):
        load_exported(path)


@pytest.mark.parametrize(
    "change",
    [
        {"cddfuse.model": None},
        {"cddfuse.smallest": "0"},
        {"cddfuse.multiple_of": "two"},
        {"cddfuse.receptive_radius": "-3"},
        {"cddfuse.receptive_radius": "{"},
    ],
    ids=str,
)
def test_networks_of_others_are_refused(
    change: dict[str, str | None], onnx_file: Path, tmp_path: Path
) -> None:
    onnx = import_module("onnx")
    model = onnx.load(str(onnx_file))
    for entry in model.metadata_props:
        if entry.key in change:
            entry.value = change[entry.key] or ""
            entry.key = entry.key if change[entry.key] else "something"
    path = tmp_path / "changed.onnx"
    onnx.save(model, str(path))
    with pytest.raises(InputError, match="was not written by cddfuse export"):
        load_exported(path)


@pytest.mark.parametrize(
    ("name", "backend", "said"),
    [
        ("missing.onnx", None, "there is no file"),
        ("missing.pt2", None, "is not run here"),
        ("missing.xml", "onnxruntime", "cannot be run by onnxruntime"),
    ],
)
def test_files_that_cannot_be_run(name: str, backend: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        load_exported(tmp_path / name, backend)


@pytest.mark.parametrize("missing", ["onnxruntime", "openvino"])
def test_a_missing_runtime_is_named(
    missing: Any, onnx_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(cast(dict[str, Any], sys.modules), missing, None)
    with pytest.raises(InputError, match=rf"pip install 'cddfuse\[{missing}\]'"):
        load_exported(onnx_file, missing)


def test_trouble_while_running_is_one_sentence() -> None:
    def fails(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        raise RuntimeError("Non-zero status code")

    card = Card(name="mine", paper="")
    with pytest.raises(InputError, match=r"cannot run mine\.onnx \(Non-zero status code\)"):
        fuse(Exported(fails, card, Path("mine.onnx")), pair(16, 24))

    def shrinks(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return first[..., 1:]

    with pytest.raises(InputError, match="gives no image of the size"):
        fuse(Exported(shrinks, card, Path("mine.onnx")), pair(16, 24))


@pytest.mark.parametrize(
    ("name", "exported"),
    [("a.onnx", True), ("a.XML", True), ("a.pt2", True), ("a.pth", False), ("ivf", False)],
)
def test_exported_files_are_known_by_suffix(name: str, exported: bool) -> None:
    assert is_exported(name) == exported
