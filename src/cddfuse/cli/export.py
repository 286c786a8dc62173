"""The verb `export`."""

import json as json_format
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from cddfuse.cli.common import Flag, WeightFlags, stderr
from cddfuse.errors import InputError
from cddfuse.export import TOLERANCE, ParityError, Report, listed
from cddfuse.export import export as write
from cddfuse.export.writers import quiet_exporters
from cddfuse.models import MODELS
from cddfuse.models.exported import is_exported
from cddfuse.models.load import DEFAULT, default_weights, load_network
from cddfuse.models.weights import network_of


def export(
    model: str = DEFAULT,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    format: Literal["onnx", "openvino", "torchscript", "pt2"] | None = None,
    trained: WeightFlags = WeightFlags(),  # noqa: B008
    tolerance: float = TOLERANCE,
    overwrite: Flag = False,
    json: Flag = False,
    quiet: Flag = False,
) -> int:
    """Write a network to a file for other runtimes, and compare it with `fuse` at three sizes.

    The file takes first and second and gives fused, each (1, 1, height, width) in [0, 1], of any
    height and width; `fuse --weights FILE` runs .onnx and .xml. If results differ from those of
    fuse, nothing is written and the exit code is 1.

    Args:
        model: A network of the zoo, or a weights file.
        output: The file: .onnx, .xml (OpenVINO, with a .bin beside it), .torchscript or .pt2.
        format: Format of the file; by default what its suffix says.
        tolerance: Largest difference from fuse that is accepted, of values in [0, 1].
        overwrite: Replace a file that exists.
        json: Print the report as JSON.
        quiet: Print nothing but errors.
    """
    quiet_exporters()
    weights = trained.weights
    if model not in MODELS and Path(model).is_file():
        if weights:
            text = f"{model} is a weights file: leave other weights out."
            raise InputError(text, setting="weights")
        model, weights = network_of(Path(model)) or DEFAULT, model
    if weights and is_exported(weights):
        raise InputError(f"{weights} is exported already: export its weights once more.")
    network = load_network(model, trained.task, weights, trained.options(), "cpu")
    named = weights or default_weights(model, trained.task)
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
    console.print(f"largest difference from fuse: {listed(report.differences)}")
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
