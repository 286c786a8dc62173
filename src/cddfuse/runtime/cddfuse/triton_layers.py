"""The transformer blocks of CDDFuse by the kernels of `triton_kernels`.

Dense attention and detail nodes stay with PyTorch: the first is a full 3x3 convolution, in which
cuDNN is at home.
"""

import torch
import triton
from torch import Tensor

from cddfuse.runtime.cddfuse import triton_kernels as kernels
from cddfuse.runtime.cddfuse.half_blocks import EPSILON, Attention, FeedForward, Norm
from cddfuse.runtime.cddfuse.whole import EAGER, HalfBlocks

BLOCKS = {
    "norm_expand": {"BP": 64, "BK": 64},
    "gate_project": {"BP": 64, "BK": 32},
    "attend_project": {"BP": 64, "BK": 32},
    "sum_products": {"BP": 32, "BK": 32},
}
"""Pixels and channels of a program, which the check for spills compiles too."""
_SHARES = 128
"""Programs among which the pixels of an image are divided for sums, at most."""


def queries_keys_values(x: Tensor, weights: Attention) -> Tensor:
    """Like that of `half_blocks`, but before the depthwise convolution where there is one."""
    if weights.expand is None:
        return EAGER.queries_keys_values(x, weights)
    return _expanded(x, weights.norm, weights.expand)


def sums(wide: Tensor, weights: Attention) -> tuple[Tensor, Tensor]:
    """Like that of `half_blocks`, of what `queries_keys_values` gives."""
    if weights.expand is None:
        return EAGER.sums(wide, weights)
    batch, height, width, channels = wide.shape
    channels, pixels, blocks = channels // 3, height * width, BLOCKS["sum_products"]
    shares = min(_SHARES, triton.cdiv(pixels, 4 * blocks["BP"]))
    products = wide.new_empty(batch, shares, channels, channels, dtype=torch.float32)
    squares = wide.new_empty(batch, shares, 2 * channels, dtype=torch.float32)
    grid = shares, batch, channels // blocks["BK"]
    given = wide, weights.mix, products, squares, pixels, height, width
    with torch.cuda.device_of(wide):
        kernels.sum_products[grid](*given, triton.cdiv(pixels, shares), C=channels, **blocks)
    return products.sum(1), squares.sum(1).sqrt()


def attend(x: Tensor, wide: Tensor, matrix: Tensor, weights: Attention) -> Tensor:
    """Like that of `half_blocks`, of what `queries_keys_values` gives."""
    if weights.expand is None:
        return EAGER.attend(x, wide, matrix, weights)
    batch, height, width, channels = x.shape
    out, blocks = torch.empty_like(x), BLOCKS["attend_project"]
    grid = triton.cdiv(height * width, blocks["BP"]), batch
    given = wide, weights.mix, matrix.contiguous(), x, out, height * width, height, width
    with torch.cuda.device_of(x):
        kernels.attend_project[grid](*given, C=channels, **blocks)
    return out


def feed_forward(x: Tensor, weights: FeedForward) -> Tensor:
    """Like that of `half_blocks`."""
    batch, height, width, channels = x.shape
    wide = _expanded(x, weights.norm, weights.expand)
    out, blocks, pixels = torch.empty_like(x), BLOCKS["gate_project"], batch * height * width
    given = wide, weights.mix, weights.project, x, out, pixels, height, width
    sizes = {"C": channels, "K": weights.project.shape[1], "G": weights.mix.shape[1]}
    with torch.cuda.device_of(x):
        kernels.gate_project[triton.cdiv(pixels, blocks["BP"]),](*given, **sizes, **blocks)
    return out


def _expanded(x: Tensor, norm: Norm, matrix: Tensor) -> Tensor:
    """Norm and 1x1 convolution: (B, H, W, C) to (B, H, W, D)."""
    (outputs, channels), blocks = matrix.shape, BLOCKS["norm_expand"]
    wide = x.new_empty(*x.shape[:-1], outputs, dtype=matrix.dtype)
    pixels = x.shape[:-1].numel()
    grid = triton.cdiv(pixels, blocks["BP"]), outputs // blocks["BK"]
    with torch.cuda.device_of(x):
        given = x, norm.weight, norm.bias, matrix, wide, pixels, EPSILON
        kernels.norm_expand[grid](*given, C=channels, D=outputs, **blocks)
    return wide


KERNELS = HalfBlocks(queries_keys_values, sums, attend, feed_forward, EAGER.couple)
"""Those of Triton."""
