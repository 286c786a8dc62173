"""Exported networks, run by ONNX Runtime or OpenVINO.

An exported file is a `FusionModel` like any other. Files that cannot be read, or were not written
by `cddfuse.export`, are refused with one sentence. Only formats that hold data are read:
TorchScript and `.pt2` files could run code of their own.
"""

import json
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from cddfuse.errors import InputError, trouble
from cddfuse.models.base import Card, FusionModel

Backend = Literal["onnxruntime", "openvino"]
Array = np.ndarray
Runner = Callable[[Array, Array], Array]

RUN_BY: Mapping[str, tuple[Backend, ...]] = {
    ".onnx": ("onnxruntime", "openvino"),
    ".xml": ("openvino",),
}
"""Backends that run a file, by its suffix; the first is the default."""

_NOT_RUN = (".pt2", ".torchscript")


class Exported(FusionModel):
    """An exported file, run by another runtime on the CPU, in single precision.

    Args:
        run: from arrays (1, 1, H, W) of both images to one of the fused image.
        card: of the network that was exported.
        path: of the file, for messages.
    """

    def __init__(self, run: Runner, card: Card, path: Path) -> None:
        super().__init__()
        self.card = card
        self._run = run
        self._path = path
        self.eval()

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Fuse: (B, 1, H, W) and (B, 1, H, W) to (B, 1, H, W)."""
        if torch.is_autocast_enabled(first.device.type):
            text = f"{self._path} is in single precision: choose the precision auto or fp32."
            raise InputError(text, setting="precision")
        pairs = zip(first.split(1), second.split(1), strict=True)
        return torch.cat([self._fused(one, two) for one, two in pairs])

    def _fused(self, first: Tensor, second: Tensor) -> Tensor:
        with trouble(f"run {self._path}", Exception):
            fused = self._run(*(x.detach().float().cpu().numpy() for x in (first, second)))
        if fused.shape != first.shape:
            raise InputError(f"{self._path} gives no image of the size it is given: export again.")
        return torch.from_numpy(fused).to(first)


def is_exported(source: str | Path) -> bool:
    """Whether the suffix is that of an exported file."""
    return Path(source).suffix.lower() in (*RUN_BY, *_NOT_RUN)


def files_of(path: Path) -> list[Path]:
    """The exported file, and the one beside it that holds its weights, if it has one."""
    beside = path.with_suffix(".bin")
    return [path, beside] if path.suffix.lower() == ".xml" and beside.is_file() else [path]


def load_exported(path: str | Path, backend: Backend | None = None) -> Exported:
    """Load an exported file as a network.

    Args:
        path: ends in `.onnx`, or in `.xml` with the `.bin` beside it.
        backend: what runs it, by default ONNX Runtime where the file is one of ONNX.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    able = RUN_BY.get(suffix, ())
    if not able:
        raise InputError(f"{path} is not run here: export to a file in {' or '.join(RUN_BY)}.")
    backend = backend or able[0]
    if backend not in able:
        raise InputError(f"{path} cannot be run by {backend}: {' and '.join(able)} can.")
    if not path.is_file():
        raise InputError(f"there is no file {path}: check the name.")
    package(backend, backend)  # a missing package is not the fault of the file
    try:
        run, facts = _LOADERS[backend](path)
    except Exception as error:  # runtimes raise anything for a damaged file
        raise InputError(f"{path} is damaged or no exported network: export it again.") from error
    return Exported(run, _card(facts, path), path)


def facts_of(model: FusionModel) -> dict[str, str]:
    """Facts about a network for the header of a file, which `_card` reads."""
    card = model.card
    return {
        "cddfuse.model": card.name,
        "cddfuse.options": json.dumps(dict(model._constructor_options)),
        "cddfuse.multiple_of": str(card.multiple_of),
        "cddfuse.smallest": str(card.smallest),
        "cddfuse.receptive_radius": json.dumps(card.receptive_radius),
    }


def _card(facts: Mapping[str, str], path: Path) -> Card:
    try:
        radius = json.loads(facts["cddfuse.receptive_radius"])
        per_pixel = facts.get("cddfuse.bytes_per_pixel")  # older files have none
        card = Card(
            name=facts["cddfuse.model"],
            paper="",
            multiple_of=int(facts["cddfuse.multiple_of"]),
            smallest=int(facts["cddfuse.smallest"]),
            receptive_radius=None if radius is None else int(radius),
            bytes_per_pixel=None if per_pixel is None else int(per_pixel),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} was not written by cddfuse export, or changed since.") from error
    if min(card.multiple_of, card.smallest) < 1 or (card.receptive_radius or 0) < 0:
        raise InputError(f"{path} was not written by cddfuse export, or changed since.")
    return card


def _with_onnxruntime(path: Path) -> tuple[Runner, Mapping[str, str]]:
    runtime = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # errors are raised as well
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(first: Array, second: Array) -> Array:
        return session.run(["fused"], {"first": first, "second": second})[0]

    return run, session.get_modelmeta().custom_metadata_map


def _with_openvino(path: Path) -> tuple[Runner, Mapping[str, str]]:
    core = import_module("openvino").Core()
    network = core.read_model(str(path))
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    compiled = core.compile_model(network, "CPU", settings)
    facts = _facts_of_onnx(path) if path.suffix.lower() == ".onnx" else _facts_of_openvino(network)

    def run(first: Array, second: Array) -> Array:
        # The next run overwrites the memory of the result.
        return compiled({"first": first, "second": second})["fused"].copy()

    return run, facts


def _facts_of_onnx(path: Path) -> dict[str, str]:
    """Metadata of an ONNX file, which OpenVINO does not read."""
    model = package("onnx", "export").load(str(path), load_external_data=False)
    return {entry.key: entry.value for entry in model.metadata_props}


def _facts_of_openvino(network: Any) -> dict[str, str]:
    names = (
        *("model", "options", "multiple_of", "smallest", "receptive_radius"),
        "bytes_per_pixel",
    )
    return {
        f"cddfuse.{name}": network.get_rt_info(["cddfuse", name]).astype(str)
        for name in names
        if network.has_rt_info(["cddfuse", name])
    }


def package(name: str, extra: str) -> Any:
    """Import an optional package, or raise an error that says how to install it."""
    try:
        return import_module(name)
    except ImportError as error:
        text = f"the package {name} is missing: pip install 'cddfuse[{extra}]'."
        raise InputError(text) from error


_LOADERS: Mapping[str, Callable[[Path], tuple[Runner, Mapping[str, str]]]] = {
    "onnxruntime": _with_onnxruntime,
    "openvino": _with_openvino,
}
