"""CDDFuse without rearrangements: the baseline of benchmarks and of tests of the fast form."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from cddfuse.models.cddfuse import CDDFuse, ChannelAttention, ChannelNorm, PixelLinear


class PlainNorm(ChannelNorm):
    """Layer norm by hand, on rows of pixels."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        rows = x.flatten(2).transpose(1, 2)
        mean = rows.mean(-1, keepdim=True)
        variance = rows.var(-1, keepdim=True, unbiased=False)
        rows = (rows - mean) / torch.sqrt(variance + 1e-5) * self.weight + self.bias
        return rows.transpose(1, 2).reshape(x.shape)


class PlainAttention(ChannelAttention):
    """As it is defined: two convolutions, every head separately, projection at the end."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return self.definition(x)


_PLAIN = {ChannelNorm: PlainNorm, ChannelAttention: PlainAttention, PixelLinear: nn.Conv2d}


class PlainCDDFuse(CDDFuse):
    """Both sources through the encoder one after the other."""

    def encode(self, first: Tensor, second: Tensor):  # type: ignore[no-untyped-def]
        """Features of both sources."""
        return self.encoder(first), self.encoder(second)


def plain(model: CDDFuse) -> PlainCDDFuse:
    """The same network with the same weights and names."""
    model = deepcopy(model)
    model.__class__ = PlainCDDFuse
    for module in model.modules():
        module.__class__ = _PLAIN.get(type(module), type(module))
    return model  # type: ignore[return-value]
