"""Convolutions that keep the size, with what usually follows them."""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

Border = Literal["zeros", "reflect"]


def conv(
    inputs: int,
    outputs: int,
    *after: nn.Module,
    kernel: int = 3,
    border: Border = "zeros",
    dilation: int = 1,
) -> nn.Sequential:
    """A convolution with bias that keeps the size (child 0), and what comes `after` it.

    With a reflected border, images need a side of at least 2.
    """
    padding = dilation * (kernel // 2)
    layer = nn.Conv2d(
        inputs,
        outputs,
        kernel,
        padding=padding,
        dilation=dilation,
        padding_mode=border if padding else "zeros",
    )
    return nn.Sequential(layer, *after)


def leaky() -> nn.LeakyReLU:
    """The leaky ReLU that networks from TensorFlow have: slope 0.2."""
    return nn.LeakyReLU(0.2)


class UnitTanh(nn.Tanh):
    """A hyperbolic tangent moved to [0, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        return super().forward(x) / 2 + 0.5


class DenseBlock(nn.Module):
    """Layers of which each sees the input and the outputs of all before it.

    Args:
        layers: the first takes the input's channels, each next one as many more as the one before
            it gives.
        newest: where the newest features stand in the concatenation.
    """

    def __init__(self, *layers: nn.Module, newest: Literal["first", "last"]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.newest = newest

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C + all that the layers give, H, W)."""
        for layer in self.layers:
            new = layer(x)
            x = torch.cat([new, x] if self.newest == "first" else [x, new], dim=1)
        return x


def convolutions(module: nn.Module) -> Iterator[nn.Conv2d]:
    """All convolutions of a network."""
    return (part for part in module.modules() if isinstance(part, nn.Conv2d))
