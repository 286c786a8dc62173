"""A file appears if, and only if, it gives what `fuse` gives."""

import json
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from exporting import pair, shallow
from torch import Tensor

import cddfuse.export as subject
from cddfuse import InputError, create_model, fuse
from cddfuse.export import ParityError, export, run_by
from cddfuse.export.writers import FORMATS, quiet_exporters
from cddfuse.models import MODELS, Card, FusionModel
from cddfuse.models.exported import load_exported
from cddfuse.pair import ImagePair


@pytest.fixture(autouse=True)
def quiet() -> None:
    """For this test: pytest restores the filters."""
    quiet_exporters()


NOT_LAYERS = {"laplacian", "dwt"}  # they compute in NumPy


@pytest.mark.parametrize("name", MODELS)
def test_every_network_is_written_or_refused(name: str, tmp_path: Path) -> None:
    for package in MODELS[name].card.requires:
        pytest.importorskip(package)
    torch.manual_seed(0)
    model = shallow() if name == "cddfuse" else create_model(name)
    path = tmp_path / "network.torchscript"
    if name in NOT_LAYERS:
        with pytest.raises(ParityError, match="inf at 51x37"):
            export(model, path)
        with pytest.raises(InputError, match=f"{name} cannot be exported"):
            export(model, tmp_path / "network.pt2")
        assert not list(tmp_path.iterdir())
        return
    report = export(model, path)
    assert report.size == path.stat().st_size
    assert max(report.differences.values()) < 1e-5
    assert len(report.differences) == 3


def test_onnx_gives_what_fuse_gives(onnx_file: Path) -> None:
    model, exported = shallow(), load_exported(onnx_file)
    for size in ((30, 45), (9, 70), (5, 3)):
        torch.testing.assert_close(
            fuse(exported, pair(*size)), fuse(model, pair(*size)), rtol=0, atol=1e-5
        )


def test_onnx_says_what_it_is(onnx_file: Path) -> None:
    onnx = import_module("onnx")
    model = onnx.load(str(onnx_file))
    names = [x.name for x in (*model.graph.input, *model.graph.output)]
    assert names == ["first", "second", "fused"]
    for image in model.graph.input:
        sides = [x.dim_param or x.dim_value for x in image.type.tensor_type.shape.dim]
        assert sides == [1, 1, "height", "width"]
    facts = {x.key: x.value for x in model.metadata_props}
    assert facts["cddfuse.model"] == "cddfuse"
    assert facts["cddfuse.weights"] == "random"
    assert facts["cddfuse.version"]
    assert facts["cddfuse.smallest"] == "8"
    assert json.loads(facts["cddfuse.options"])["residual"] == "first"
    assert not any(node.metadata_props for node in model.graph.node)
    assert b"graphs.py" not in onnx_file.read_bytes()  # nor folders of the machine


def test_openvino_gives_what_fuse_gives(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="the extra openvino is 180 MB and not among dev")
    pytest.importorskip("onnxscript")
    model = _sdnet()
    path = tmp_path / "sdnet.xml"
    report = export(model, path)
    assert sorted(x.name for x in tmp_path.iterdir()) == ["sdnet.bin", "sdnet.xml"]
    assert report.size == sum(x.stat().st_size for x in tmp_path.iterdir())
    exported = load_exported(path)
    assert exported.card.receptive_radius == model.card.receptive_radius
    expected = fuse(model, pair(30, 45))
    torch.testing.assert_close(fuse(exported, pair(30, 45)), expected, rtol=0, atol=1e-5)
    path.unlink()
    with pytest.raises(InputError, match=r"sdnet\.bin exists"):
        export(model, path)


def test_openvino_runs_onnx(onnx_file: Path) -> None:
    pytest.importorskip("openvino", reason="the extra openvino is 180 MB and not among dev")
    exported = load_exported(onnx_file, "openvino")
    expected = fuse(shallow(), pair(30, 45))
    torch.testing.assert_close(fuse(exported, pair(30, 45)), expected, rtol=0, atol=1e-5)


def test_pt2_runs_without_us(tmp_path: Path) -> None:
    path = tmp_path / "sdnet.pt2"
    model = _sdnet()
    export(model, path)
    extra = {"cddfuse.json": ""}
    program = torch.export.load(path, extra_files=cast(dict[str, Any], extra)).module()
    assert json.loads(extra["cddfuse.json"])["cddfuse.model"] == "sdnet"
    first, second = (x[None] for x in pair(30, 45)[:2])
    torch.testing.assert_close(program(first, second)[0], fuse(model, pair(30, 45)))


def test_pt2_states_the_smallest_size_that_it_takes(tmp_path: Path) -> None:
    path, extra = tmp_path / "small.pt2", {"cddfuse.json": ""}
    export(create_model("cddfuse_small"), path)
    program = torch.export.load(path, extra_files=cast(dict[str, Any], extra)).module()
    side = int(json.loads(extra["cddfuse.json"])["cddfuse.smallest"])
    assert side == 16
    assert program(*torch.rand(2, 1, 1, side, side)).shape == (1, 1, side, side)
    with pytest.raises(AssertionError):
        program(*torch.rand(2, 1, 1, side - 8, side))


class Halves(FusionModel):
    """It needs even sides."""

    card = Card(name="halves", paper="", multiple_of=2, smallest=3)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Fuse."""
        small = torch.nn.functional.avg_pool2d(first, 2)
        return (torch.nn.functional.interpolate(small, scale_factor=2) + second) / 2


def test_a_network_that_needs_even_sides_keeps_saying_so(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    path = tmp_path / "halves.onnx"
    export(Halves().eval(), path)
    exported = load_exported(path)
    assert (exported.card.multiple_of, exported.card.smallest) == (2, 3)
    expected = fuse(Halves().eval(), pair(7, 9))
    torch.testing.assert_close(fuse(exported, pair(7, 9)), expected)


class Odd(FusionModel):
    """It reflects what halving an odd side loses, which only sizes above 2 have room for."""

    card = Card(name="odd", paper="", smallest=4)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Fuse."""
        again = torch.nn.functional.interpolate(
            torch.nn.functional.avg_pool2d(first, 2), scale_factor=2
        )
        missing = [second.shape[axis] - again.shape[axis] for axis in (-1, -2)]
        again = torch.nn.functional.pad(again, (0, missing[0], 0, missing[1]), mode="reflect")
        return (again + second) / 2


def test_a_network_whose_sizes_nobody_can_prove(tmp_path: Path) -> None:
    report = export(Odd().eval(), tmp_path / "odd.pt2")
    assert max(report.differences.values()) < 1e-6


class Stuck(FusionModel):
    """Tracing takes its size for a constant."""

    card = Card(name="stuck", paper="")

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Fuse."""
        return (first * (int(first.shape[-1]) / 100) + second) / 2


def test_other_values_than_those_of_fuse_are_not_written(tmp_path: Path) -> None:
    path = tmp_path / "stuck.torchscript"
    with pytest.raises(ParityError, match=r"torchscript gives other values.*at 64x48.*nothing"):
        export(Stuck().eval(), path)
    assert not list(tmp_path.iterdir())
    export(Stuck().eval(), path, tolerance=1)
    assert path.is_file()


def test_nothing_is_replaced_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "mean.torchscript"
    path.write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        export(create_model("mean"), path)
    assert path.read_text() == "mine"
    export(create_model("mean"), path, overwrite=True)
    assert path.stat().st_size > 100
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "form", "said"),
    [
        ("mean.bin", None, "has none of the suffixes"),
        ("mean.onnx", "pt2", "cannot hold pt2"),
        ("mean.onnx", "tflite", "no format tflite"),
    ],
)
def test_names_that_say_something_else_are_refused(
    name: str, form: str | None, said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        export(create_model("mean"), tmp_path / name, form)


@pytest.mark.parametrize("missing", ["onnx", "onnxscript"])
def test_a_missing_package_is_named(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package)
    monkeypatch.setitem(cast(dict[str, Any], __import__("sys").modules), missing, None)
    with pytest.raises(InputError, match=rf"{missing} is missing: pip install 'cddfuse\[export\]'"):
        export(create_model("mean"), tmp_path / "mean.onnx")
    assert not list(tmp_path.iterdir())


def test_the_filters_of_the_process_are_left_alone(tmp_path: Path) -> None:
    warnings.resetwarnings()
    warnings.simplefilter("ignore")
    before = list(warnings.filters)
    export(create_model("mean"), tmp_path / "mean.torchscript")
    assert list(warnings.filters) == before


def test_a_network_that_the_runtime_refuses_is_named(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    with pytest.raises(InputError, match="guided cannot be exported to onnx: its runtime refuses"):
        export(create_model("guided"), tmp_path / "guided.onnx")
    assert not list(tmp_path.iterdir())


def test_formats_differ_by_suffix() -> None:
    assert len({form.suffix for form in FORMATS.values()}) == len(FORMATS)


def test_a_backend_runs_a_network_from_the_cache(
    onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    times = []

    def quickly(model: FusionModel, path: Path, **_: Any) -> None:
        times.append(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(onnx_file.read_bytes())

    monkeypatch.setattr(subject, "export", quickly)
    model = shallow()
    for _ in range(2):
        assert run_by(model, "onnxruntime").card.name == "cddfuse"
    assert len(times) == 1
    times[0].write_bytes(b"damaged")
    run_by(model, "onnxruntime")
    assert times == [times[0]] * 2
    with torch.no_grad():
        model.decoder.reduce.weight[0, 0] += 1
    run_by(model, "onnxruntime")
    assert len(set(times)) == 2  # other weights, another file
    monkeypatch.setattr("cddfuse.evaluate.provenance.hash_code", lambda *_: "mended since")
    run_by(model, "onnxruntime")
    assert len(set(times)) == 3  # other code, too


def test_a_large_image_is_what_fuse_gives(tmp_path: Path) -> None:
    """Runtimes add up pixels in other ways, and of many the sums must be exact."""
    for package in ("onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    model, path = create_model("cddfuse_small", "ivf"), tmp_path / "small.onnx"
    export(model, path)
    ramp = torch.linspace(0, 1, 1600)
    noise = torch.randn(2, 1, 1200, 1600, generator=torch.Generator().manual_seed(0))
    first, second = (torch.stack([ramp, ramp.flip(0)])[:, None, None] + 0.005 * noise).clamp(0, 1)
    large = ImagePair(first, second)
    difference = (fuse(load_exported(path), large) - fuse(model, large)).abs().max()
    assert difference < 1e-3


def _sdnet() -> FusionModel:
    torch.manual_seed(0)
    return create_model("sdnet")
