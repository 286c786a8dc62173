"""Sides of the benchmark that other runtimes run: see `benchmarks.runtime`.

Run `cddfuse fuse --backend onnxruntime` once before: the export would count for the peak of memory.
"""

from collections.abc import Callable

from torch import Tensor

from cddfuse.export import run_by
from cddfuse.models.cddfuse import CDDFuse
from cddfuse.runtime import run

Fuser = Callable[[Tensor, Tensor], Tensor]


def _onnxruntime(model: CDDFuse) -> Fuser:
    exported = run_by(model, "onnxruntime")
    return lambda first, second: run(exported, first, second)


def _openvino(model: CDDFuse) -> Fuser:
    exported = run_by(model, "openvino")
    return lambda first, second: run(exported, first, second)


SIDES: dict[str, Callable[[CDDFuse], Fuser]] = {
    "ONNX Runtime": _onnxruntime,
    "OpenVINO": _openvino,
}
