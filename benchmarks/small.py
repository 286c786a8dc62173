"""Time of the small network in each runtime, in fp32 and int8.

    python -m benchmarks.small [--weights ivf] [--pair first.png second.png] [--threads 1]

Without weights, the network is untrained, which takes the same time; decibels then mean nothing.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from cddfuse import runtime
from cddfuse.colour import luma
from cddfuse.export import export
from cddfuse.export.writers import quiet_exporters
from cddfuse.io import read_pair
from cddfuse.models import FusionModel, create_model
from cddfuse.models.exported import load_exported
from cddfuse.pair import ImagePair

SIDES = ("visible", "infrared")
EXAMPLES = Path(__file__).parents[1] / "examples"
Runner = Callable[[], np.ndarray]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights")
    parser.add_argument("--pair", nargs=2, default=[EXAMPLES / f"night_{x}.png" for x in SIDES])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=9)
    given = parser.parse_args()
    runtime.prepare_process()  # as the command does
    torch.set_num_threads(given.threads)
    quiet_exporters()
    torch.manual_seed(0)
    model = create_model("cddfuse_small", given.weights)
    pair = read_pair(*given.pair)
    with TemporaryDirectory() as folder, torch.inference_mode():
        runners = dict(_runners(model, pair, Path(folder)))
        seconds = _in_turns(runners, given.turns)
        reference = runners["PyTorch, fp32"]()
        print("| runtime | ms | CPU ms | dB to fp32 |\n| --- | --- | --- | --- |")
        for name, run in runners.items():
            error = float(np.square(run() - reference).mean())
            ratio = "" if error < 1e-10 else f"{-10 * np.log10(error):.1f}"
            wall, cpu = (
                1000 * statistics.median(each) for each in zip(*seconds[name], strict=True)
            )
            print(f"| {name} | {wall:.0f} | {cpu:.0f} | {ratio} |")


def _runners(model: FusionModel, pair: ImagePair, folder: Path) -> Iterator[tuple[str, Runner]]:
    first, second = (luma(image)[None].contiguous() for image in pair[:2])
    yield "PyTorch, fp32", lambda: model(first, second).numpy()
    path = folder / "small.onnx"
    export(model, path)
    eight = _quantized(path, first, second)
    for name in ("onnxruntime", "openvino"):
        for kind, file in (("fp32", path), ("int8", eight)):
            try:
                other = load_exported(file, name)
            except ValueError:
                print(f"{name} is not installed")
                break
            yield f"{name}, {kind}", lambda other=other: other(first, second).numpy()  # type: ignore[misc]


def _quantized(path: Path, first: torch.Tensor, second: torch.Tensor) -> Path:
    """Convolutions in int8, calibrated on quarters of the pair."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Quarters(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            places = (
                (..., slice(None, 240), slice(None, 320)),
                (..., slice(240, 480), slice(320, 640)),
            )
            self.left = [{"first": first[x].numpy(), "second": second[x].numpy()} for x in places]

        def get_next(self) -> Any:
            return self.left.pop() if self.left else None

    eight = path.with_name("int8.onnx")
    quantize_static(
        str(path),
        str(eight),
        Quarters(),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["Conv"],
    )
    return eight


def _in_turns(runners: dict[str, Runner], turns: int) -> dict[str, list[tuple[float, float]]]:
    """Seconds and CPU seconds of each turn."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in runners}
    for turn in range(turns + 1):
        for name, run in runners.items():
            begun = time.perf_counter(), time.process_time()
            run()
            if turn:  # the first one warms up
                spent = time.perf_counter() - begun[0], time.process_time() - begun[1]
                seconds[name].append(spent)
    return seconds


if __name__ == "__main__":
    main()
