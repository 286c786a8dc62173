"""What the CPU and the PyTorch layers of CDDFuse have in common: they fill one patch at a time.

Maps are (H, W, channels), images (H, W, 1).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from cddfuse.layers.attention import attention_projection
from cddfuse.models.cddfuse import ChannelAttention
from cddfuse.runtime.patches import Patch


class Layer(Protocol):
    """A layer with its weights."""

    def __call__(self, x: Tensor, patch: Patch, target: Tensor, *, add: bool = False) -> None:
        """Fill a patch of a map, or add to it, with what becomes of x."""


@dataclass(frozen=True)
class Attention:
    """Norm, attention and shortcut: two passes, the second with a matrix from the first."""

    module: ChannelAttention

    sums: Callable[[Tensor, Patch], tuple[Tensor, Tensor]]
    """Products of queries and keys, (C, C), and squares of both, (2C,), summed over a patch in
    float64. Products between heads may be left out."""

    values: Callable[[Tensor], Layer]
    """The second pass, given the matrix."""

    def matrix(self, products: Tensor, squares: Tensor) -> Tensor:
        """Attention and projection in one (C, C), from the sums over all patches."""
        queries, keys = squares.sqrt().float()[None].chunk(2, dim=1)
        module = self.module
        with torch.inference_mode():
            return attention_projection(
                products.float()[None],
                queries,
                keys,
                module.temperature,
                module.project.weight[:, :, 0, 0],
            )[0]


Step = Layer | Attention
