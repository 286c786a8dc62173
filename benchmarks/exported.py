"""Sides of the benchmark that other runtimes run: see `benchmarks.runtime`."""

from collections.abc import Callable

import torch
from torch import Tensor

from cddfuse.export import run_by
from cddfuse.models.cddfuse import CDDFuse
from cddfuse.runtime import run
from cddfuse.runtime.allocator import keep_memory

Fuser = Callable[[Tensor, Tensor], Tensor]


def _onnxruntime(model: CDDFuse) -> Fuser:
    exported = run_by(model, "onnxruntime")
    return lambda first, second: run(exported, first, second)


def _openvino(model: CDDFuse) -> Fuser:
    exported = run_by(model, "openvino")
    return lambda first, second: run(exported, first, second)


def _compiled(model: CDDFuse) -> Fuser:
    keep_memory()
    compiled = torch.compile(model, dynamic=True)

    def fuser(first: Tensor, second: Tensor) -> Tensor:
        with torch.no_grad():  # what is compiled in inference mode is compiled again outside
            return compiled(first, second)

    return fuser


SIDES: dict[str, Callable[[CDDFuse], Fuser]] = {
    "ONNX Runtime": _onnxruntime,
    "OpenVINO": _openvino,
    "module, compiled, tuned allocator": _compiled,
}
