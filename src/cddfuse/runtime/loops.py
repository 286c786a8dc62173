"""Small loops over patches of feature maps: compiled for CPUs, in PyTorch for everything else.

Maps are (rows, columns, channels); `weight` of a 3x3 convolution begins with its 9 places. A map
that is convolved has one row and one column more on each side than `out`.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor


class Loops(NamedTuple):
    """The same six functions, whatever they are written in. All fill their last argument."""

    norm: Callable[..., None]
    """Layer norm of x over its channels, with weight and bias (channels,)."""

    depthwise: Callable[..., None]
    """x convolved with weight (9, channels)."""

    depthwise_relu6: Callable[..., None]
    """Likewise, and then ReLU6."""

    gate: Callable[..., None]
    """x (rows, columns, 2, channels) convolved with weight (9, 2, channels): GELU of the first half
    times the second."""

    gate_pairs: Callable[..., None]
    """Likewise in groups of two: x (rows, columns, 2 halves, 2 in, groups), weight (9, 2 halves,
    2 in, 2 out, groups), out (rows, columns, 2, groups)."""

    add_squares: Callable[..., None]
    """Squares of (pixels, channels), added to (channels,)."""


@cache
def loops(device: str) -> Loops:
    """The fastest ones for a type of device."""
    if device == "cpu":
        try:
            from cddfuse.runtime import kernels
        except ImportError:  # Numba comes to a new Python later than PyTorch does
            return _TORCH
        return Loops(*(_on_tensors(getattr(kernels, name)) for name in Loops._fields))
    return _TORCH


def _on_tensors(kernel: Callable[..., None]) -> Callable[..., None]:
    return lambda *tensors: kernel(*(tensor.numpy() for tensor in tensors))


def _norm(x: Tensor, weight: Tensor, bias: Tensor, out: Tensor) -> None:
    out.copy_(F.layer_norm(x, x.shape[-1:], weight, bias))


def _convolved(x: Tensor, weight: Tensor) -> Tensor:
    kernel = weight.t().reshape(-1, 1, 3, 3)
    return F.conv2d(x.permute(2, 0, 1)[None], kernel, groups=x.shape[2])[0].permute(1, 2, 0)


def _depthwise(x: Tensor, weight: Tensor, out: Tensor) -> None:
    out.copy_(_convolved(x, weight))


def _depthwise_relu6(x: Tensor, weight: Tensor, out: Tensor) -> None:
    out.copy_(F.relu6(_convolved(x, weight)))


def _gate(x: Tensor, weight: Tensor, out: Tensor) -> None:
    gate, value = _convolved(x.flatten(2), weight.flatten(1)).chunk(2, -1)
    out.copy_(F.gelu(gate) * value)


def _gate_pairs(x: Tensor, weight: Tensor, out: Tensor) -> None:
    # Back to the order of a grouped convolution: halves, groups, the two of a group.
    groups = x.shape[-1]
    image = x.transpose(3, 4).flatten(2).permute(2, 0, 1)[None]
    kernel = weight.permute(1, 4, 3, 2, 0).reshape(4 * groups, 2, 3, 3)
    mixed = F.conv2d(image, kernel, groups=2 * groups)[0].permute(1, 2, 0)
    gate, value = mixed.unflatten(2, (2, groups, 2)).unbind(2)
    out.copy_((F.gelu(gate) * value).transpose(2, 3))


def _add_squares(x: Tensor, out: Tensor) -> None:
    out.add_(x.square().sum(0))


_TORCH = Loops(_norm, _depthwise, _depthwise_relu6, _gate, _gate_pairs, _add_squares)
