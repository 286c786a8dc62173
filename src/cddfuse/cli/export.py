"""The verb `export`."""

import json as json_format
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from cddfuse.cli.common import Flag, default_weights, load_network, stderr
from cddfuse.errors import InputError
from cddfuse.export import TOLERANCE, ParityError, Report, listed
from cddfuse.export import export as write
from cddfuse.models import MODELS
from cddfuse.models.exported import is_exported
from cddfuse.models.weights import network_of
from cddfuse.runtime.allocator import keep_memory


def export(
    model: str = "cddfuse",
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    format: Literal["onnx", "openvino", "torchscript", "pt2"] | None = None,
    weights: str | None = None,
    task: Literal["ivf", "mif"] | None = None,
    residual: Literal["first", "sum", "none"] | None = None,
    tolerance: float = TOLERANCE,
    overwrite: Flag = False,
    json: Flag = False,
    quiet: Flag = False,
) -> int:
    """Write a network to a file for other runtimes, and compare it with `fuse` at three sizes.

    The file takes first and second and gives fused, (1, 1, height, width) in [0, 1], of any height
    and width; `fuse --weights FILE` runs those of ONNX and OpenVINO. Where it does not give what
    fuse gives, nothing is written and the exit code is 1.

    Args:
        model: A network of the zoo, or a weights file.
        output: The file: .onnx, .xml (OpenVINO, with a .bin beside it), .torchscript or .pt2.
        format: Of the file; by default what its name says.
        weights: As for fuse: a name, a weights file, a checkpoint of the authors, or a repository
            of the hub.
        task: Chooses the weights: ivf for infrared and visible, mif for medical pairs; by
            default what the network was first made for.
        residual: As for fuse: for checkpoints of cddfuse that do not say.
        tolerance: Largest difference to fuse that is passed, of values in [0, 1].
        overwrite: Replace a file that exists.
        json: Print the report as JSON.
        quiet: Print nothing but errors.
    """
    keep_memory()
    if model not in MODELS and Path(model).is_file():
        if weights:
            raise InputError(f"{model} is a weights file: leave --weights out.")
        model, weights = network_of(Path(model)) or "cddfuse", model
    if weights and is_exported(weights):
        raise InputError(f"{weights} is exported already: export its weights once more.")
    network = load_network(model, task, weights, residual, "cpu")
    named = weights or default_weights(model, task)
    facts = {"cddfuse.weights": Path(named).name} if named else {}
    try:
        report = write(
            network, output, format, facts=facts, tolerance=tolerance, overwrite=overwrite
        )
    except ParityError as error:
        stderr(quiet=False).print(f"cddfuse: {error}")
        return 1
    console = stderr(quiet)
    console.print(
        f"exported {model}{f' ({named})' if named else ''} as {report.form}, {report.version}, "
        f"{report.size / 1e6:.1f} MB: {output}"
    )
    console.print(f"largest difference to fuse: {listed(report.differences)}")
    if json:
        print(_as_json(report))
    return 0


def _as_json(report: Report) -> str:
    return json_format.dumps(
        {
            "path": str(report.path),
            "format": report.form,
            "version": report.version,
            "bytes": report.size,
            "differences": {f"{w}x{h}": x for (h, w), x in report.differences.items()},
        },
        indent=2,
    )
