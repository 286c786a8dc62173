"""The layers of CDDFuse over whole feature maps, for GPUs: few operations, no copies of layouts.

Maps are (B, H, W, channels), which PyTorch calls channels-last. Weights and wide maps have one
precision, in which each operation reads and writes; the map that residuals are added to may have a
higher one, that of the norm's weights. Layers that follow each other without a nonlinearity are
composed. A half block is a function of a map and its weights, so that blocks of a kind share what
is compiled for them.
"""

from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cddfuse.models.cddfuse import ChannelAttention, DetailNode, GatedFeedForward, TransformerBlock

EPSILON = 1e-5
"""Of the norms; `weights_of` checks it."""


class Norm(NamedTuple):
    """Layer norm over channels."""

    weight: Tensor
    """(C,)."""

    bias: Tensor
    """(C,)."""

    def __call__(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to the same."""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, EPSILON)


class Attention(NamedTuple):
    """Weights of the attention half of a block."""

    norm: Norm

    expand: Tensor | None
    """(3C, C); None in dense attention, where it is part of `mix`."""

    mix: Tensor
    """(3C, 1, 3, 3), or (3C, C, 3, 3) in dense attention."""

    temperature: Tensor
    """(heads, 1, 1), in single precision."""

    project: Tensor
    """(C, C), in single precision."""


class FeedForward(NamedTuple):
    """Weights of the feed-forward half of a block, with K hidden channels."""

    norm: Norm

    expand: Tensor
    """(2K, C)."""

    mix: Tensor
    """(2K, inputs of a group, 3, 3)."""

    project: Tensor
    """(C, K)."""


class Coupling(NamedTuple):
    """Weights of a detail node with C channels."""

    shuffle: Tensor
    """(2C, C): the first layer of phi after the shuffle, then the shuffle itself."""

    shift: Tensor
    """(2C,)."""

    phi_mix: Tensor
    """(C, 1, 3, 3)."""

    phi_project: Tensor
    """(C / 2, C)."""

    expand: Tensor
    """(2C, C / 2): of rho and eta."""

    mix: Tensor
    """(2C, 1, 3, 3)."""

    project: Tensor
    """(C, 2C): of rho and eta, in blocks."""


Border = tuple[Tensor, Tensor]
"""Rows (H + 2, 1) and columns (W + 2,) of an image reflected by one pixel on each side."""


def queries_keys_values(x: Tensor, weights: Attention) -> Tensor:
    """(B, H, W, C) to (B, H, W, 3C)."""
    x = weights.norm(x).to(weights.mix.dtype)
    if weights.expand is not None:
        x = F.linear(x, weights.expand)
    return _convolved(x, weights.mix, padding=1)


def sums(mixed: Tensor, _: Attention) -> tuple[Tensor, Tensor]:
    """Sums over all pixels that attention depends on.

    Args:
        mixed: queries, keys and values, (B, H, W, 3C).
        _: the weights, for kernels that convolve only here.

    Returns:
        Products of queries and keys, (B, C, C), and lengths of both, (B, 2C) in single precision.
    """
    channels = mixed.shape[-1] // 3
    both = mixed[..., : 2 * channels].flatten(1, 2)
    lengths = torch.linalg.vector_norm(both, dim=1, dtype=torch.float32)
    query, key = both.split(channels, dim=2)
    return query.transpose(1, 2) @ key, lengths


def attend(x: Tensor, mixed: Tensor, matrix: Tensor, _: Attention) -> Tensor:
    """Add attention, given its matrix (B, C, C) with the projection in it; the rest as `sums`."""
    channels = x.shape[-1]
    value, matrix = mixed[..., 2 * channels :].flatten(1, 2), matrix.transpose(1, 2)
    if x.dtype == value.dtype:
        return torch.baddbmm(x.flatten(1, 2), value, matrix).view_as(x)
    return x + (value @ matrix).view_as(x)


def feed_forward(x: Tensor, weights: FeedForward) -> Tensor:
    """(B, H, W, C) to the same."""
    wide = F.linear(weights.norm(x).to(weights.expand.dtype), weights.expand)
    gate, value = _convolved(wide, weights.mix, padding=1).chunk(2, dim=-1)
    opened = F.gelu(gate) * value
    if x.dtype == opened.dtype:
        flat = torch.addmm(x.flatten(0, 2), opened.flatten(0, 2), weights.project.t())
        return flat.view_as(x)
    return x + F.linear(opened, weights.project)


def couple(x: Tensor, weights: Coupling, border: Border) -> Tensor:
    """(B, H, W, C) to the same."""
    half = x.shape[-1] // 2
    phi, one, two = F.linear(x, weights.shuffle, weights.shift).split((2 * half, half, half), -1)
    two = two + F.linear(_bent(phi, weights.phi_mix, border), weights.phi_project)
    wide = _bent(F.linear(two, weights.expand), weights.mix, border)
    scale, shift = F.linear(wide, weights.project).chunk(2, dim=-1)
    return torch.cat([torch.addcmul(shift, one, scale.exp()), two], dim=-1)


def reflected(height: int, width: int, device: torch.device) -> Border:
    """The border of images of a size."""
    rows, columns = (
        side - 1 - (torch.arange(-1, side + 1, device=device).abs() - side + 1).abs()
        for side in (height, width)
    )
    return rows[:, None], columns


def _bent(x: Tensor, mix: Tensor, border: Border) -> Tensor:
    """ReLU6, 3x3 convolution of each channel within a reflected border, ReLU6."""
    x = F.relu6(x)[:, border[0], border[1]]  # reflection by PyTorch would copy to another layout
    return F.relu6(_convolved(x, mix))


def _convolved(x: Tensor, kernel: Tensor, padding: int = 0) -> Tensor:
    """3x3 convolution: (B, H, W, I) to (B, H, W, O)."""
    image, groups = x.permute(0, 3, 1, 2), x.shape[-1] // kernel.shape[1]
    return F.conv2d(image, kernel, padding=padding, groups=groups).permute(0, 2, 3, 1)


def attention_of(block: TransformerBlock, dtype: torch.dtype, residual: torch.dtype) -> Attention:
    """Weights of a half block, at the precisions of wide maps and of the one it is added to."""
    module = block.attention
    assert isinstance(module, ChannelAttention)
    expand = None if module.dense else stored(_matrix(module.expand), dtype)
    mix = module.kernel() if module.dense else module.mix.weight
    single = stored(module.temperature), stored(_matrix(module.project))
    return Attention(_norm(block.norm1, residual), expand, stored(mix, dtype), *single)


def feed_forward_of(
    block: TransformerBlock, dtype: torch.dtype, residual: torch.dtype
) -> FeedForward:
    """Weights of a half block, at the precisions of wide maps and of the one it is added to."""
    module = block.feed_forward
    assert isinstance(module, GatedFeedForward)
    weights = _matrix(module.expand), module.mix.weight, _matrix(module.project)
    return FeedForward(_norm(block.norm2, residual), *(stored(x, dtype) for x in weights))


def coupling_of(node: DetailNode, dtype: torch.dtype) -> Coupling:
    """Weights of a detail node, at a precision."""
    assert node.shuffle.bias is not None
    shuffle, shift = _matrix(node.shuffle), node.shuffle.bias
    (expand, phi_mix, phi_project), *others = map(_bottleneck, (node.phi, node.rho, node.eta))
    first = expand @ shuffle[: expand.shape[1]], expand @ shift[: expand.shape[1]]
    expands, mixes, projects = zip(*others, strict=True)
    weights = Coupling(
        torch.cat([first[0], shuffle]),
        torch.cat([first[1], shift]),
        phi_mix,
        phi_project,
        torch.cat(expands),
        torch.cat(mixes),
        torch.block_diag(*projects),
    )
    return Coupling(*(stored(x, dtype) for x in weights))


def stored(x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """A copy of a weight in the layout of maps; a parameter, whose sizes are facts to compilers."""
    x = x.detach().to(dtype, copy=True)
    layout = torch.channels_last if x.dim() == 4 else torch.contiguous_format
    return nn.Parameter(x.contiguous(memory_format=layout), requires_grad=False)


def _norm(module: nn.LayerNorm, dtype: torch.dtype) -> Norm:
    assert module.eps == EPSILON
    return Norm(stored(module.weight, dtype), stored(module.bias, dtype))


def _matrix(module: nn.Conv2d) -> Tensor:
    return module.weight[:, :, 0, 0]


def _bottleneck(module: nn.Sequential) -> tuple[Tensor, Tensor, Tensor]:
    expand, mix, project = (cast(nn.Conv2d, module[place]) for place in (0, 3, 5))
    return _matrix(expand), mix.weight, _matrix(project)
