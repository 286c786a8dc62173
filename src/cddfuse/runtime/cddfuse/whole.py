"""CDDFuse over whole images, for GPUs: the layers of `half_blocks`, by the chosen functions.

Four things stay in single precision where the rest is bf16, for a measured gain: the first
convolution, as bf16 cannot tell all grey levels apart; the maps that the shallow blocks and the
base branches add to; attention matrices, as they hold for all pixels; the last convolution, which
draws the image.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cddfuse.history import steady
from cddfuse.layers.attention import attention_projection
from cddfuse.models.cddfuse import CDDFuse, DetailNode, TransformerBlock, residual_image
from cddfuse.runtime.cddfuse import half_blocks
from cddfuse.runtime.cddfuse.half_blocks import Attention, Border, Coupling, FeedForward


class HalfBlocks(NamedTuple):
    """Functions of maps; those of `half_blocks` are the definition."""

    queries_keys_values: Callable[[Tensor, Attention], Tensor]
    sums: Callable[[Tensor, Attention], tuple[Tensor, Tensor]]
    attend: Callable[[Tensor, Tensor, Tensor, Attention], Tensor]
    feed_forward: Callable[[Tensor, FeedForward], Tensor]
    couple: Callable[[Tensor, Coupling, Border], Tensor]


EAGER = HalfBlocks(
    half_blocks.queries_keys_values,
    half_blocks.sums,
    half_blocks.attend,
    half_blocks.feed_forward,
    half_blocks.couple,
)


class Block(NamedTuple):
    """Weights of a transformer block."""

    attention: Attention
    feed_forward: FeedForward


class Whole:
    """A CDDFuse, ready to fuse whole images. Any number of threads may use it at a time.

    Args:
        model: the network, with the branches of the release; `exact.Fast.suits` tells. Its weights
            are copied: `is_of` tells when another `Whole` is due.
        dtype: of weights, and of feature maps but for those above.
        functions: what computes the half blocks.
    """

    @torch.inference_mode()  # wherever it is built: compiled functions tell such weights apart
    def __init__(self, model: CDDFuse, dtype: torch.dtype, functions: HalfBlocks = EAGER) -> None:
        self._dtype, self._functions = dtype, functions
        self._weights, self._residual = _flat(model), model.residual
        encoder, decoder = model.encoder, model.decoder
        self._embedding = half_blocks.stored(encoder.embedding.weight)
        self._blocks = self._steps(encoder.blocks, torch.float32)
        self._base, self._fuse_base = (
            self._steps([x], torch.float32) for x in (encoder.base, model.base_fusion)
        )
        self._detail, self._fuse_detail = (
            [half_blocks.coupling_of(node, dtype) for node in cast(Iterable[DetailNode], nodes)]
            for nodes in (encoder.detail, model.detail_fusion)
        )
        halves = decoder.reduce.weight[:, :, 0, 0].chunk(2, dim=1)
        self._reduce = [half_blocks.stored(half.t(), dtype) for half in halves]
        self._decode = self._steps(decoder.blocks, dtype)
        narrow, bend, draw = decoder.output
        self._narrow = half_blocks.stored(cast(Tensor, narrow.weight), dtype)
        self._slope = cast(nn.LeakyReLU, bend).negative_slope
        self._draw = half_blocks.stored(cast(Tensor, draw.weight))

    def is_of(self, model: CDDFuse) -> bool:
        """Whether a network still has the weights and options that this form was made from.

        All weights are compared at once, for each comparison would wait for the GPU.
        """
        weights = _flat(model)
        same = (weights.device, weights.shape) == (self._weights.device, self._weights.shape)
        return same and self._residual == model.residual and torch.equal(weights, self._weights)

    @torch.inference_mode()
    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        """Fuse pairs (B, 1, H, W) in single precision."""
        height, width = first.shape[-2:]
        border = half_blocks.reflected(height, width, first.device)
        images = torch.cat([first, second]).to(memory_format=torch.channels_last)
        x = F.conv2d(images, self._embedding, padding=1).permute(0, 2, 3, 1).contiguous()
        x = self._through(self._blocks, x)
        # Only the sums of both images' features are needed.
        base = self._through(self._fuse_base, _sum(self._through(self._base, x)))
        base = base.to(self._dtype)
        detail = _sum(self._coupled(self._detail, x.to(self._dtype), border))
        detail = self._coupled(self._fuse_detail, detail, border)
        flat = torch.addmm(
            base.flatten(0, 2) @ self._reduce[0], detail.flatten(0, 2), self._reduce[1]
        )
        x = self._through(self._decode, flat.view_as(base))
        x = F.conv2d(x.permute(0, 3, 1, 2), self._narrow, padding=1)
        drawn = F.conv2d(F.leaky_relu(x, self._slope).float(), self._draw, padding=1)
        residual = residual_image(self._residual, first, second)
        return (drawn if residual is None else drawn + residual).sigmoid()

    def _steps(self, blocks: Iterable[nn.Module], residual: torch.dtype) -> list[Block]:
        given = self._dtype, residual
        return [
            Block(
                half_blocks.attention_of(block, *given), half_blocks.feed_forward_of(block, *given)
            )
            for block in cast(Iterable[TransformerBlock], blocks)
        ]

    def _through(self, blocks: Sequence[Block], x: Tensor) -> Tensor:
        for block in blocks:
            x = self._functions.feed_forward(self._attended(x, block.attention), block.feed_forward)
        return x

    def _attended(self, x: Tensor, weights: Attention) -> Tensor:
        mixed = self._functions.queries_keys_values(x, weights)
        products, lengths = self._functions.sums(mixed, weights)
        queries, keys = lengths.chunk(2, dim=1)
        given = products.float(), queries, keys, weights.temperature, weights.project
        # Not among what is compiled: in a clip it is smoothed over frames.
        matrix = steady(attention_projection(*given)).to(mixed.dtype)
        return self._functions.attend(x, mixed, matrix, weights)

    def _coupled(self, nodes: Sequence[Coupling], x: Tensor, border: Border) -> Tensor:
        for node in nodes:
            x = self._functions.couple(x, node, border)
        return x


def _sum(both: Tensor) -> Tensor:
    """Features of first images plus those of second ones."""
    one, two = both.chunk(2)
    return one + two


def _flat(model: nn.Module) -> Tensor:
    """A copy of all weights as one vector."""
    return torch.cat([x.detach().flatten() for x in model.state_dict().values()])
