"""How CDDFuse is run on a device, and why: for `runtime.run` and `cddfuse doctor`."""

import os
import shutil
import sys
from importlib.util import find_spec
from typing import NamedTuple, get_args

import torch

from cddfuse.errors import InputError
from cddfuse.models.base import FusionModel
from cddfuse.runtime.cddfuse.exact import Fast
from cddfuse.runtime.limits import Kernels

NOT_MEASURED = "made for GPUs, not measured on one yet"
_OLDEST = (8, 0)  # compute capability: the first one with bf16


class Engine(NamedTuple):
    """A way to run it, in words."""

    name: str
    reason: str


def engine(device: torch.device) -> Engine:
    """What `fuse` uses for images that fit into memory, unless kernels are chosen."""
    if device.type == "cpu":
        return _on_cpu()
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return Engine(
            "whole image, PyTorch, bf16", "the GPU has bf16, and the network's card says so"
        )
    return Engine("whole image, PyTorch, fp32", f"{device.type} without bf16")


def choices(device: torch.device) -> dict[str, str]:
    """All kernels by name, and graphs: whether they can be used on a device, or why not."""
    chosen = [kernels for kernels in get_args(Kernels) if kernels != "auto"]
    missing = {kernels: lacking(kernels, device) for kernels in chosen}
    missing["graphs"] = lacking_graphs(device)
    can = {
        kernels: f"no: {text}" if text else f"yes, if chosen: {NOT_MEASURED}"
        for kernels, text in missing.items()
    }
    return {"auto": "yes, the default: the engine above", **can}


def require(kernels: Kernels, model: FusionModel, device: torch.device) -> None:
    """Refuse kernels that a network or a device does not have.

    Raises:
        InputError: says what is missing.
    """
    if kernels == "auto":
        return
    if not Fast.suits(model):
        text = f"{model.card.name} has no {kernels} kernels, only cddfuse of the release has: "
        raise InputError(f"{text}leave them out.", setting="kernels")
    if text := lacking(kernels, device):
        raise InputError(f"{kernels} kernels cannot be used here: {text}.", setting="kernels")


def require_graphs(device: torch.device) -> None:
    """Refuse CUDA graphs on a device that has none.

    Raises:
        InputError: names the device.
    """
    if text := lacking_graphs(device):
        raise InputError(f"{text}: leave them out.", setting="graphs")


def lacking_graphs(device: torch.device) -> str:
    """What a device lacks to have CUDA graphs; nothing if it has them."""
    if device.type == "cuda":
        return ""
    return f"CUDA graphs need a CUDA GPU, and this is {device.type}"


def lacking(kernels: Kernels, device: torch.device) -> str:
    """What kernels lack on a device; nothing if they can be used."""
    if kernels == "compile":
        return _no_compile(device)
    return _no_triton(device) if kernels == "triton" else ""


def _no_compile(device: torch.device) -> str:
    if device.type == "cuda":
        return _no_triton(device)  # which torch.compile writes its kernels in
    if device.type != "cpu":
        return f"torch.compile is used on CUDA GPUs and CPUs, not on {device.type}"
    usual = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    return _no_compiler("C++", "CXX", usual)


def _no_triton(device: torch.device) -> str:
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"  # on CPUs, for tests
    if device.type != "cuda" and not interpreted:
        return f"Triton needs a CUDA GPU, and this is {device.type}"
    if find_spec("triton") is None:
        return "Triton is not installed (the extra triton)"
    if interpreted:
        return ""
    if torch.version.hip is None and torch.cuda.get_device_capability(device) < _OLDEST:
        return "the GPU is older than sm_80"
    return _no_compiler("C", "CC", "gcc", "clang")  # for the functions that launch kernels


def _no_compiler(language: str, variable: str, *usual: str) -> str:
    own = os.environ.get(variable)
    commands = [own] if own else usual
    if any(map(shutil.which, commands)):
        return ""
    return f"there is no {language} compiler ({' or '.join(commands)}; {variable} names another)"


def _on_cpu() -> Engine:
    try:
        from cddfuse.runtime.cddfuse import kernels
    except (ImportError, RuntimeError) as error:  # as in `exact`
        return Engine("patches, PyTorch, fp32", f"Numba cannot be used, which is slower: {error}")
    place = kernels.merge.stats.cache_path
    return Engine(
        "patches, compiled kernels, fp32", f"a CPU with Numba; kernels are kept in {place}"
    )
