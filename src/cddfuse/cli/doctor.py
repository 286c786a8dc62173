"""The verb `doctor`."""

import json as json_format
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil
import torch

from cddfuse.cli.common import Flag
from cddfuse.models.load import find_device
from cddfuse.models.weights import cache_folder
from cddfuse.runtime import memory
from cddfuse.runtime.cddfuse.engine import choices, engine

_PACKAGES = (
    *("cddfuse", "torch", "numpy", "numba", "llvmlite", "opencv-python-headless", "pillow"),
    *("onnxruntime", "openvino", "av", "triton"),
)


def doctor(*, json: Flag = False) -> int:
    """Show what this installation runs on: versions, processor, threads, caches, GPUs, engine.

    The engine is how `fuse` runs CDDFuse on the device that it chooses, and why; kernels are what
    `--kernels` may name there, and whether `--graphs` can be used.

    Args:
        json: Print it as JSON.
    """
    found = facts()
    if json:
        print(json_format.dumps(found, indent=2))
        return 0
    for title, entries in found.items():
        print(title)
        for name, value in entries.items():
            print(f"  {name}: {value}")
    return 0


def facts() -> dict[str, dict[str, Any]]:
    """Facts about the installation, by group."""
    device = find_device("auto")
    used = engine(device)
    return {
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in _PACKAGES},
        },
        "processor": {
            "machine": f"{platform.system()} {platform.machine()}",
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "cores": psutil.cpu_count(logical=False) or "not known",
            "threads of PyTorch": torch.get_num_threads(),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "not set"),
            "memory for feature maps": f"{memory.budget(torch.device('cpu')) / 1e9:.1f} GB",
        },
        "caches": {
            "weights": str(cache_folder("weights").parent),
            "NUMBA_CACHE_DIR": os.environ.get("NUMBA_CACHE_DIR", "not set"),
        },
        "GPUs": _gpus(),
        "engine": {"device": str(device), "cddfuse": used.name, "because": used.reason},
        "kernels": choices(device),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _gpus() -> dict[str, str]:
    if not torch.cuda.is_available():
        built = torch.version.cuda or torch.version.hip
        reason = "no GPU is visible to it" if built else "this PyTorch is built for CPUs"
        return {"none": reason}
    known = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return {
        f"cuda:{place}": f"{gpu.name}, {gpu.total_memory / 1e9:.0f} GB, sm_{gpu.major}{gpu.minor}"
        for place, gpu in enumerate(known)
    }
