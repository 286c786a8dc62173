"""The layers of CDDFuse for CPUs: weights laid out for the kernels, one call per patch."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cddfuse.compiling import announce, compile_all
from cddfuse.models.cddfuse import (
    ChannelAttention,
    ChannelNorm,
    DetailNode,
    GatedFeedForward,
    TransformerBlock,
)
from cddfuse.runtime.cddfuse import kernels
from cddfuse.runtime.cddfuse.depthwise import lanes
from cddfuse.runtime.cddfuse.products import LANES, panels
from cddfuse.runtime.cddfuse.steps import Attention, Layer, Step
from cddfuse.runtime.patches import Patch
from cddfuse.threads import worker_count

Array = NDArray[np.float32]
HEADS, OF_HEAD = 8, 8
# Sums and differences of Winograd's matrices (winograd.py).
_HALVES = torch.tensor([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
_NO_SUMS = np.empty((0, OF_HEAD, OF_HEAD)), np.empty(0)


@cache
def prepare() -> None:
    """Compile the kernels, once a machine; load them, once a process."""
    announce()
    compile_all(kernels, worker_count())


def steps(block: nn.Module) -> list[Step]:
    """The layers of a block."""
    if isinstance(block, DetailNode):
        return _coupled(block)
    assert isinstance(block, TransformerBlock)
    return [_attention(block), _feed_forward(block)]


def convolution(module: nn.Conv2d, slope: float = 1.0) -> Layer:
    """3x3 convolution with zero padding, leaky ReLU."""
    return _layer(kernels.convolution, kernel(module.weight), np.float32(slope))


def merge(module: nn.Conv2d) -> Callable[[Tensor, Tensor, Tensor, Patch], None]:
    """1x1 convolution of the concatenation of two maps."""
    of_x, of_y = (panels(half) for half in np.split(_matrix(module), 2))

    def work(x: Tensor, y: Tensor, target: Tensor, patch: Patch) -> None:
        kernels.merge(x.numpy(), y.numpy(), tuple(patch), of_x, of_y, target.numpy())

    return work


def _layer(work: Callable[..., None], *weights: Any) -> Layer:
    def layer(x: Tensor, patch: Patch, target: Tensor, *, add: bool = False) -> None:
        work(x.numpy(), tuple(patch), *weights, add, target.numpy())

    return layer


def _attention(block: TransformerBlock) -> Attention:
    module, norm = block.attention, _norm(block.norm1)
    assert isinstance(module, ChannelAttention)
    channels = module.project.in_channels
    if module.dense:
        both, value = module.kernel().detach().split((2 * channels, channels))

        def dense(matrix: Tensor) -> Layer:
            composed = torch.einsum("om,mihw->oihw", matrix, value)
            return _layer(kernels.dense_attention, norm, transformed(composed), *_NO_SUMS)

        return Attention(module, _sums(kernels.dense_attention, norm, transformed(both)), dense)
    parts = np.split(_matrix(module.expand), 3, axis=1), np.split(_places(module.mix), 3, axis=1)
    (query, key, expand), (of_query, of_key, mix) = parts
    expand, mix = panels(expand), lanes(mix)

    def values(matrix: Tensor) -> Layer:
        project = panels(matrix.t().numpy())
        return _layer(kernels.attention, norm, expand, mix, project, *_NO_SUMS)

    weights = panels(np.hstack([query, key])), lanes(np.hstack([of_query, of_key]))
    nothing = panels(np.empty((1, 0)))
    return Attention(module, _sums(kernels.attention, norm, *weights, nothing), values)


def _sums(work: Callable[..., None], *weights: Array) -> Callable[[Tensor, Patch], Any]:
    def sums(x: Tensor, patch: Patch) -> tuple[Tensor, Tensor]:
        products = np.zeros((HEADS, OF_HEAD, OF_HEAD))
        squares = np.zeros(2 * HEADS * OF_HEAD)
        work(x.numpy(), tuple(patch), *weights, products, squares, False, x.numpy())
        return torch.block_diag(*torch.from_numpy(products)), torch.from_numpy(squares)

    return sums


def _feed_forward(block: TransformerBlock) -> Layer:
    module, norm = block.feed_forward, _norm(block.norm2)
    assert isinstance(module, GatedFeedForward)
    expand, project = _matrix(module.expand), _matrix(module.project)
    hidden = len(project)
    # Channels are sorted so that the first ones of all groups lie together.
    of_group = 2 * hidden // module.mix.groups
    order = np.arange(2 * hidden).reshape(2, -1, of_group).swapaxes(1, 2).ravel()
    weight = module.mix.weight.detach().view(2, -1, LANES, of_group, of_group, 9)
    # From halves, blocks, groups, out, in, places
    mix = weight.permute(0, 3, 1, 4, 5, 2).contiguous().numpy()
    expand, project = panels(expand[:, order]), panels(project[order[:hidden]])
    return _layer(kernels.feed_forward, norm, expand, mix, project)


def _coupled(node: DetailNode) -> list[Step]:
    assert node.shuffle.bias is not None
    shuffle, shift = _matrix(node.shuffle), node.shuffle.bias.detach().numpy()
    expand, mix, project = _bottleneck(node.phi)
    half = len(expand)
    # Shuffle and the first convolution of phi are one matrix.
    both = panels(np.hstack([shuffle[:, :half] @ expand, shuffle]))
    bias = np.hstack([shift[:half] @ expand, shift])
    one = _layer(kernels.couple_one, both, bias, lanes(mix), panels(project))
    expands, mixes, projects = zip(_bottleneck(node.rho), _bottleneck(node.eta), strict=True)
    weights = panels(np.hstack(expands)), lanes(np.hstack(mixes)), *map(panels, projects)
    return [one, _layer(kernels.couple_two, *weights)]


def _bottleneck(module: nn.Sequential) -> tuple[Array, Array, Array]:
    expand, _, _, mix, _, project = module
    return _matrix(expand), _places(mix), _matrix(project)


def _norm(module: ChannelNorm) -> Array:
    """Weight and bias of a norm, (2, C)."""
    return torch.stack([module.weight, module.bias]).detach().numpy()


def _matrix(module: nn.Module) -> Array:
    """Weights of a 1x1 convolution, (inputs, outputs)."""
    assert isinstance(module, nn.Conv2d)
    return module.weight.detach()[:, :, 0, 0].t().contiguous().numpy()


def _places(module: nn.Module) -> Array:
    """Weights of a depthwise 3x3 convolution, (9, channels)."""
    assert isinstance(module, nn.Conv2d)
    return module.weight.detach().flatten(1).t().contiguous().numpy()


def kernel(weight: Tensor) -> Array:
    """Weights of a 3x3 convolution: (rows, panels, 3 pixels x channels, outputs of a panel)."""
    rows = weight.detach().permute(2, 3, 1, 0).flatten(1, 2).numpy()
    return np.stack([panels(row) for row in rows])


def transformed(weight: Tensor) -> np.ndarray:
    """The matrices of a convolution (outputs, inputs, 3, 3): (down, across, and as in `panels`)."""
    weight = weight.detach().cpu().double()
    halves = _HALVES.double()
    matrices = torch.einsum("ur,oirc,vc->uvio", halves, weight, halves).float().numpy()
    return np.stack([[panels(matrix) for matrix in row] for row in matrices])
