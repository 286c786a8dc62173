"""SegFormer: a pyramid of transformer blocks, and a decoder of linear layers on all its stages.

Paper: Xie et al., "SegFormer: Simple and Efficient Design for Semantic Segmentation with
Transformers", NeurIPS 2021. Ours: MiT-B0 (two blocks a stage, reductions 8, 4, 2, 1) at half of its
widths and a quarter of its decoder's, without stochastic depth, so that it learns from scratch.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cddfuse.downstream.networks.backbone import MEAN

WIDTHS = (16, 32, 80, 128)
HEADS = (1, 2, 5, 8)
REDUCTIONS = (8, 4, 2, 1)
DEPTH = 2
_EXPANSION = 4
_DROPOUT = 0.1
_DEVIATION = 0.02  # of initial weights of linear layers


class Attention(nn.Module):
    """Self-attention whose keys and values are of a map that is smaller by `reduction`."""

    def __init__(self, width: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.project = nn.Linear(width, width)
        self.reduce = nn.Conv2d(width, width, reduction, reduction) if reduction > 1 else None
        self.norm = nn.LayerNorm(width) if reduction > 1 else None

    def forward(self, tokens: Tensor, rows: int, columns: int) -> Tensor:
        """(B, rows * columns, width) to the same shape."""
        fewer = tokens
        if self.reduce is not None and self.norm is not None:
            # Padded, so that no row or column at the edge is left out.
            step = self.reduce.stride[0]
            padding = (0, -columns % step, 0, -rows % step)
            smaller = self.reduce(F.pad(_as_map(tokens, rows, columns), padding))
            fewer = self.norm(_as_tokens(smaller))
        query = self._split(self.query(tokens))
        key, value = map(self._split, self.key_value(fewer).chunk(2, -1))
        out = F.scaled_dot_product_attention(query, key, value)
        return self.project(out.transpose(1, 2).flatten(2))

    def _split(self, tokens: Tensor) -> Tensor:
        """(B, n, width) to (B, heads, n, width / heads)."""
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class MixFeedForward(nn.Module):
    """Two linear layers with a 3x3 convolution in between, which tells where a token is."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = width * _EXPANSION
        self.expand = nn.Linear(width, inner)
        self.depthwise = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.project = nn.Linear(inner, width)

    def forward(self, tokens: Tensor, rows: int, columns: int) -> Tensor:
        """(B, rows * columns, width) to the same shape."""
        inner = self.depthwise(_as_map(self.expand(tokens), rows, columns))
        return self.project(F.gelu(_as_tokens(inner)))


class Block(nn.Module):
    """Attention and feed-forward, each added to what it was given."""

    def __init__(self, width: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, reduction)
        self.feed_forward = MixFeedForward(width)

    def forward(self, tokens: Tensor, rows: int, columns: int) -> Tensor:
        """(B, rows * columns, width) to the same shape."""
        tokens = tokens + self.attention(self.norm1(tokens), rows, columns)
        return tokens + self.feed_forward(self.norm2(tokens), rows, columns)


class Stage(nn.Module):
    """Patches that overlap become tokens, then blocks."""

    def __init__(
        self, inputs: int, width: int, heads: int, reduction: int, kernel: int, stride: int
    ) -> None:
        super().__init__()
        self.embed = nn.Conv2d(inputs, width, kernel, stride, kernel // 2)
        self.norm = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(Block(width, heads, reduction) for _ in range(DEPTH))
        self.last = nn.LayerNorm(width)

    def forward(self, image: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, width, H / stride, W / stride), rounded up."""
        embedded = self.embed(image)
        rows, columns = embedded.shape[-2:]
        tokens = self.norm(_as_tokens(embedded))
        for block in self.blocks:
            tokens = block(tokens, rows, columns)
        return _as_map(self.last(tokens), rows, columns)


class SegFormer(nn.Module):
    """The segmenter. 0.9 million parameters; its encoder is its own."""

    def __init__(self, channels: int, classes: int, width: int = 64) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            Stage(inputs, outputs, heads, reduction, kernel, stride)
            for (inputs, outputs), heads, reduction, (kernel, stride) in zip(
                pairwise((channels, *WIDTHS)),
                HEADS,
                REDUCTIONS,
                ((7, 4), (3, 2), (3, 2), (3, 2)),
                strict=True,
            )
        )
        self.linear = nn.ModuleList(nn.Conv2d(each, width, 1) for each in WIDTHS)
        self.fuse = nn.Sequential(
            nn.Conv2d(width * len(WIDTHS), width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Dropout2d(_DROPOUT),
        )
        self.classify = nn.Conv2d(width, classes, 1)
        self.apply(_initialised)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) to logits (B, classes, H/4, W/4)."""
        features = [image - MEAN]
        for stage in self.stages:
            features.append(stage(features[-1]))
        size = features[1].shape[-2:]
        same = [
            F.interpolate(linear(feature), size, mode="bilinear", align_corners=False)
            for linear, feature in zip(self.linear, features[1:], strict=True)
        ]
        return self.classify(self.fuse(torch.cat(same, 1)))


def _initialised(layer: nn.Module) -> None:
    if isinstance(layer, nn.Linear):
        nn.init.trunc_normal_(layer.weight, std=_DEVIATION)
        nn.init.zeros_(layer.bias)


def _as_map(tokens: Tensor, rows: int, columns: int) -> Tensor:
    """(B, n, C) to (B, C, rows, columns)."""
    return tokens.transpose(1, 2).unflatten(-1, (rows, columns))


def _as_tokens(features: Tensor) -> Tensor:
    """(B, C, h, w) to (B, h * w, C)."""
    return features.flatten(2).transpose(1, 2)
