"""Small loops over patches of feature maps: compiled for CPUs, in PyTorch for everything else.

Maps are (rows, columns, channels); `weight` of a 3x3 convolution begins with its 9 places. A map
that is convolved has one row and one column more on each side than `out`.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Loops(NamedTuple):
    """The same functions, whatever they are written in. All fill or change their last argument.

    Where a function takes a map and a place in it (`top`, `left`), it works on the rectangle there
    that is as large as its other maps.
    """

    norm: Callable[..., None]
    """Layer norm of x, at a place, over its channels, with weight and bias (channels,); zeros where
    that place lies outside x."""

    load: Callable[..., None]
    """Pixels of x, at a place; outside x they are zero or, if `mirrored`, its mirror image."""

    bend: Callable[..., None]
    """Add a bias (channels,) to (pixels, channels), then ReLU6 of the first `limited` channels."""

    couple: Callable[..., None]
    """x, at a place, of which the first channels are multiplied by a scale and get a shift, both
    (rows, columns, fewer channels)."""

    put: Callable[..., None]
    """Place a result in a map, or `add` it to what is there; x, at the same place, goes with it if
    there is a `shortcut`."""

    depthwise: Callable[..., None]
    """x convolved with weight (9, channels)."""

    depthwise_relu6: Callable[..., None]
    """Likewise, and then ReLU6; x may have more channels, which are left out."""

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
    return lambda *values: kernel(*(x.numpy() if isinstance(x, Tensor) else x for x in values))


def _norm(x: Tensor, top: int, left: int, weight: Tensor, bias: Tensor, out: Tensor) -> None:
    out.zero_()
    inside, there = _overlap(x, top, left, out)
    there.copy_(F.layer_norm(inside, x.shape[-1:], weight, bias))


def _load(x: Tensor, top: int, left: int, mirrored: bool, out: Tensor) -> None:
    if mirrored:
        rows, columns = (
            _mirrored(start, count, length, x.device)
            for start, count, length in zip((top, left), out.shape, x.shape, strict=False)
        )
        out.copy_(x[rows[:, None], columns])
        return
    out.zero_()
    inside, there = _overlap(x, top, left, out)
    there.copy_(inside)


def _mirrored(start: int, count: int, length: int, device: torch.device) -> Tensor:
    index = torch.arange(start, start + count, device=device).abs()
    return torch.where(index < length, index, 2 * length - 2 - index)


def _overlap(x: Tensor, top: int, left: int, out: Tensor) -> tuple[Tensor, Tensor]:
    """What of a place lies in x: there, and in `out`."""
    rows, columns = out.shape[:2]
    above, before = max(-top, 0), max(-left, 0)
    inside = x[top + above : max(top + rows, 0), left + before : max(left + columns, 0)]
    return inside, out[above : above + inside.shape[0], before : before + inside.shape[1]]


def _bend(bias: Tensor, limited: int, x: Tensor) -> None:
    x.add_(bias)
    x[:, :limited].clamp_(0, 6)


def _couple(x: Tensor, top: int, left: int, scale: Tensor, shift: Tensor, out: Tensor) -> None:
    out.copy_(_at(x, top, left, out))
    out[..., : scale.shape[2]].mul_(scale).add_(shift)


def _put(
    result: Tensor, x: Tensor, top: int, left: int, shortcut: bool, add: bool, out: Tensor
) -> None:
    if shortcut:
        result = result + _at(x, top, left, result)
    place = _at(out, top, left, result)
    place.copy_(place + result if add else result)


def _at(x: Tensor, top: int, left: int, like: Tensor) -> Tensor:
    return x[top : top + like.shape[0], left : left + like.shape[1]]


def _convolved(x: Tensor, weight: Tensor) -> Tensor:
    kernel = weight.t().reshape(-1, 1, 3, 3)
    x = x[..., : len(kernel)].permute(2, 0, 1)[None]
    return F.conv2d(x, kernel, groups=len(kernel))[0].permute(1, 2, 0)


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


_TORCH = Loops(
    _norm,
    _load,
    _bend,
    _couple,
    _put,
    _depthwise,
    _depthwise_relu6,
    _gate,
    _gate_pairs,
    _add_squares,
)
