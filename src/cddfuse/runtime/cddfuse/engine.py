"""How CDDFuse is run on a device, and why: for `cddfuse doctor`."""

from typing import NamedTuple

import torch


class Engine(NamedTuple):
    """A way to run it, in words."""

    name: str
    reason: str


def engine(device: torch.device) -> Engine:
    """What `fuse` uses for images that fit into memory."""
    if device.type == "cpu":
        return _on_cpu()
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return Engine(
            "whole image, PyTorch, bf16", "the GPU has bf16, and the network's card says so"
        )
    return Engine("whole image, PyTorch, fp32", f"{device.type} without bf16")


def _on_cpu() -> Engine:
    try:
        from cddfuse.runtime.cddfuse import kernels
    except (ImportError, RuntimeError) as error:  # as in `exact`
        return Engine("patches, PyTorch, fp32", f"Numba cannot be used, which is slower: {error}")
    place = kernels.merge.stats.cache_path
    return Engine(
        "patches, compiled kernels, fp32", f"a CPU with Numba; kernels are kept in {place}"
    )
