"""Cost of a network: parameters, multiply-adds, seconds and peak memory for a pair of 640 x 480.

Each turn of each network runs in a process of its own, which fuses once to warm up and then counts.
Networks take turns, so that a busy minute of the machine does not fall on one of them. The command
of a turn is `python -m cddfuse.benchmark.timing JSON`.
"""

import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

from cddfuse import io, runtime
from cddfuse.errors import InputError
from cddfuse.fuse import fuse
from cddfuse.io import replacing
from cddfuse.models.base import FusionModel
from cddfuse.models.load import load_network
from cddfuse.pair import ImagePair
from cddfuse.runtime.peak import peak_bytes, reset_peak
from cddfuse.runtime.work import multiply_adds

HEIGHT, WIDTH = 480, 640
_REPEATS = 3
_SLACK = 0.5  # in the mean number of waiting processes


@dataclass(frozen=True)
class Cost:
    """What fusing one pair takes."""

    parameters: int
    """Of the parts that fusing uses."""

    multiply_adds: int | None
    """None where they cannot be counted without data."""

    seconds: float
    """Median over the turns of the fastest repeat of each."""

    slowest: float
    """The slowest turn."""

    peak_bytes: int
    """Peak memory of the process beyond what it had before it fused, largest of the turns; on
    Linux. On a GPU, peak of its allocated memory."""

    turns: int
    device: str
    load: float
    """Mean number of waiting processes (1 minute) when it was measured; beyond the number of cores,
    seconds are too high."""


def machine() -> dict[str, Any]:
    """What seconds depend on."""
    cpu = platform.processor() or platform.machine()
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        lines = facts.read_text(errors="replace").splitlines()
        cpu = next((line.split(": ")[1] for line in lines if line.startswith("model name")), cpu)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return {
        "cpu": cpu,
        "cores": len(psutil.Process().cpu_affinity())
        if sys.platform == "linux"
        else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def measure(
    networks: Mapping[str, tuple[Any, ...]],
    keys: Mapping[str, str],
    out: Path,
    *,
    turns: int = 3,
    after: Callable[[str], None] = lambda label: None,
) -> tuple[dict[str, Cost], dict[str, str]]:
    """Costs by label, and reasons for those that failed.

    Turns that are stored are not run again, unless the machine was busy then. Networks without any
    turn are left out.

    Args:
        networks: arguments of `load_network` by label.
        keys: what the cost of each depends on: network, weights, options, device, code.
        out: where turns are kept.
        turns: runs of each; 0 takes what is stored.
        after: called with the label of each turn that is done.
    """
    here = json.dumps(machine(), sort_keys=True)
    paths = {
        label: out / f"{hashlib.sha256(f'{keys[label]} {here}'.encode()).hexdigest()[:24]}.json"
        for label in networks
    }
    stored = {label: _stored(path) for label, path in paths.items()}
    quiet = {
        label: [turn for turn in of if not is_busy(turn["load"])] for label, of in stored.items()
    }
    done = quiet if turns else {label: quiet[label] or of for label, of in stored.items()}
    failed: dict[str, str] = {}
    for turn in range(turns):
        for label, arguments in networks.items():
            if label not in failed and len(done[label]) <= turn:
                try:
                    done[label].append(_one_turn(arguments))
                    with replacing(paths[label]) as temporary:
                        temporary.write_text(json.dumps(done[label]), encoding="utf-8")
                except InputError as error:
                    failed[label] = str(error)
            after(label)
    return {label: _cost(of) for label, of in done.items() if of and label not in failed}, failed


def is_busy(load: float) -> bool:
    """Whether other programs kept the machine busy: the turns themselves load its cores."""
    return load > (machine()["cores"] or 1) + _SLACK


def _stored(path: Path) -> list[dict[str, Any]]:
    try:
        return list(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return []


def _cost(turns: Sequence[Mapping[str, Any]]) -> Cost:
    seconds = [turn["seconds"] for turn in turns]
    first = turns[0]
    return Cost(
        first["parameters"],
        first["multiply_adds"],
        statistics.median(seconds),
        max(seconds),
        max(turn["peak_bytes"] for turn in turns),
        len(turns),
        first["device"],
        max(turn["load"] for turn in turns),
    )


def _one_turn(arguments: Sequence[Any]) -> dict[str, Any]:
    """Measure in a process of its own."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    command = [sys.executable, "-m", "cddfuse.benchmark.timing", json.dumps(list(arguments))]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = answer.stdout.strip().splitlines()
    if answer.returncode or not lines:
        why = (answer.stderr.strip() or "the process was killed").splitlines()[-1]
        raise InputError(f"cannot measure the cost: {why[:300]}")
    return {**json.loads(lines[-1]), "load": load}


def _turn(network: FusionModel) -> dict[str, Any]:
    device = next((x.device for x in network.parameters()), torch.device("cpu"))
    rng = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 1, HEIGHT, WIDTH, generator=rng).unbind()
    pair = ImagePair(first, second)
    resident = psutil.Process().memory_info().rss
    reset_peak()
    fuse(network, pair)
    seconds = []
    for _ in range(_REPEATS):
        begun = time.perf_counter()
        fuse(network, pair)  # the result is on the CPU, so a GPU has finished
        seconds.append(time.perf_counter() - begun)
        if sum(seconds) > 20:
            break
    cuda = device.type == "cuda"
    try:
        work = multiply_adds(network)
    except Exception:  # exported graphs and methods that do not compute with PyTorch
        work = None
    return {
        "parameters": sum(
            weight.numel()
            for name, weight in network.named_parameters()
            if name.partition(".")[0] not in network.card.training_only
        ),
        "multiply_adds": work,
        "seconds": min(seconds),
        "peak_bytes": torch.cuda.max_memory_allocated()
        if cuda
        else max(peak_bytes() - resident, 0),
        "device": device.type,
    }


def main() -> None:
    """One turn: prints its figures as JSON."""
    io.prepare_process()
    runtime.prepare_process()
    print(json.dumps(_turn(load_network(*json.loads(sys.argv[1])))))


def as_dict(cost: Cost) -> dict[str, Any]:
    """Plain values."""
    return asdict(cost)


if __name__ == "__main__":
    main()
