"""Export formats: a writer, and a reader to compare with, for each."""

import json
import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cddfuse.errors import InputError
from cddfuse.export.graphs import Graph
from cddfuse.models.base import Card, FusionModel
from cddfuse.models.exported import RUN_BY, Exported, Runner, load_exported, package

Facts = Mapping[str, str]
_NAMES = ("first", "second")
_FACTS = "cddfuse.json"  # in archives of PyTorch
_SMALL = 24  # side of the images that a network is traced with, in pixels


@dataclass(frozen=True)
class Format:
    """A file format."""

    suffix: str
    write: Callable[[FusionModel, Path, Facts], str]
    """Write a network; returns the version of the format, in words."""

    read: Callable[[Path, Card], FusionModel]
    """Load the file as a network, to compare the two; the card is the network's."""

    beside: tuple[str, ...] = ()
    """Suffixes of further files that belong to it."""


def _onnx(model: FusionModel, path: Path, facts: Facts) -> str:
    for name in ("onnx", "onnxscript"):
        package(name, "export")
    written = torch.onnx.export(
        traced(model),
        dynamo=True,
        input_names=list(_NAMES),
        output_names=["fused"],
        dynamic_shapes={name: {2: "height", 3: "width"} for name in _NAMES},
        external_data=False,
        verbose=False,
    )
    assert written is not None  # with dynamo, it returns the program
    graphs = (written.model.graph, *(each.graph for each in written.model.functions.values()))
    for graph in graphs:
        for node in graph.all_nodes():
            node.metadata_props.clear()  # half a megabyte of source lines, with folders of ours
    written.model.metadata_props.update(facts)
    written.save(str(path), external_data=False)
    return f"opset {written.model.opset_imports['']}"


def _openvino(model: FusionModel, path: Path, facts: Facts) -> str:
    openvino = package("openvino", "openvino")
    between = path.with_suffix(".onnx")
    opset = _onnx(model, between, facts)
    network = openvino.Core().read_model(str(between))
    for name, value in facts.items():
        network.set_rt_info(value, name.split("."))
    openvino.save_model(network, str(path), compress_to_fp16=False)
    return f"from ONNX {opset}"


def _pt2(model: FusionModel, path: Path, facts: Facts) -> str:
    smallest = _least_units(model.card) * model.card.multiple_of
    stated = json.dumps({**facts, "cddfuse.smallest": str(smallest)})
    torch.export.save(traced(model), path, extra_files={_FACTS: stated})
    return f"PyTorch {torch.__version__}"


def _torchscript(model: FusionModel, path: Path, facts: Facts) -> str:
    with torch.no_grad():
        script = torch.jit.trace(Graph(model), _example(model), check_trace=False)
        torch.jit.save(script, path, _extra_files={_FACTS: json.dumps(dict(facts))})
    return f"PyTorch {torch.__version__}"


def _least_units(card: Card) -> int:
    """Of the multiple that sides are, for a traced graph: a side of one would be a constant."""
    return max(-(-card.smallest // card.multiple_of), 2)


def traced(model: FusionModel) -> torch.export.ExportedProgram:
    """The graph of a network, for images of any height and width that it takes."""
    card = model.card
    least = _least_units(card)
    sides: list[Any] = []
    for name in ("height", "width"):
        side = torch.export.Dim(name if card.multiple_of == 1 else f"_{name}", min=least)
        sides.append(side if card.multiple_of == 1 else card.multiple_of * side)
    shapes = {name: {2: sides[0], 3: sides[1]} for name in _NAMES}
    try:
        return torch.export.export(
            Graph(model),
            _example(model),
            dynamic_shapes=shapes,
            strict=False,
            # Conditions on sizes that it cannot prove are then checked when the graph runs.
            prefer_deferred_runtime_asserts_over_guards=True,
        )
    except Exception as error:  # whatever a network does that cannot be traced
        raise InputError(
            f"{card.name} cannot be exported: it does not compute with PyTorch alone, or not at "
            "every size."
        ) from error


def _example(model: FusionModel) -> tuple[Tensor, Tensor]:
    """A pair of a size that the network takes, not square."""
    multiple = model.card.multiple_of
    side = -(-max(_SMALL, model.card.smallest) // multiple) * multiple
    first, second = torch.rand(2, 1, 1, side, side + 2 * multiple).unbind()
    return first, second


def _run_here(load: Callable[[Path], Any]) -> Callable[[Path, Card], FusionModel]:
    """Reader of files of PyTorch. They can hold programs: only for files written just before."""

    def read(path: Path, card: Card) -> FusionModel:
        module = load(path)

        def run(first: Any, second: Any) -> Any:
            with torch.inference_mode():
                return module(torch.from_numpy(first), torch.from_numpy(second)).numpy()

        runner: Runner = run
        return Exported(runner, card, path)

    return read


def _run_elsewhere(path: Path, card: Card) -> FusionModel:
    """Load a file in the first runtime that is installed."""
    able = RUN_BY[path.suffix]
    for backend in able[:-1]:
        try:
            package(backend, backend)
        except InputError:
            continue
        return load_exported(path, backend)
    return load_exported(path, able[-1])


def quiet_exporters() -> None:
    """Silence warnings that the exporters give of their own future: for programs, at their start.

    It holds for the whole process, so the library does not do it by itself.
    """
    warnings.filterwarnings("ignore", module="torch|onnx|copyreg")
    warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)


FORMATS: Mapping[str, Format] = {
    "onnx": Format(".onnx", _onnx, _run_elsewhere),
    "openvino": Format(".xml", _openvino, _run_elsewhere, beside=(".bin",)),
    "torchscript": Format(".torchscript", _torchscript, _run_here(torch.jit.load)),
    "pt2": Format(".pt2", _pt2, _run_here(lambda path: torch.export.load(path).module())),
}
