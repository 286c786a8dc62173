"""Networks in the form that other runtimes run well: channels first, and nothing but layers.

The modules of CDDFuse are written for PyTorch on a CPU, where a 1x1 convolution is best a matrix
product over channels that lie last. Runtimes that choose the order of channels by themselves want
convolutions, and the transposes in between cost them more than the products.
"""

from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cddfuse.models.base import FusionModel
from cddfuse.models.cddfuse import ChannelAttention, ChannelNorm, PixelLinear


class Graph(nn.Module):
    """A network, as it is written to a file: (1, 1, H, W) twice to the same."""

    def __init__(self, model: FusionModel) -> None:
        super().__init__()
        self.model = rearranged(model)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Fuse."""
        return self.model(first, second)


class Norm(ChannelNorm):
    """Layer norm over the channels, which lie before the pixels."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        x = x - x.mean(1, keepdim=True)
        x = x * torch.rsqrt((x * x).mean(1, keepdim=True) + self.eps)
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class Attention(ChannelAttention):
    """Every head for itself; the two convolutions of the dense form composed once and for all."""

    composed: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        parts = self.mixed(x).flatten(2).chunk(3, dim=1)
        query, key, value = (part.unflatten(1, (self.heads, -1)) for part in parts)
        query, key = (F.normalize(part, dim=-1) for part in (query, key))
        attention = (query @ key.transpose(2, 3) * self.temperature).softmax(-1)
        return self.project((attention @ value).flatten(1, 2).unflatten(2, x.shape[2:]))

    def kernel(self) -> Tensor:
        """Both convolutions of the dense form in one, (3C, C, 3, 3)."""
        return self.composed


_FORMS: dict[type[nn.Module], type[nn.Module]] = {
    ChannelNorm: Norm,
    ChannelAttention: Attention,
    PixelLinear: nn.Conv2d,
}


def rearranged(model: FusionModel) -> FusionModel:
    """A copy on the CPU that gives the same. Networks without such modules are copied as they are.

    Helpers of training are left out.
    """
    model = deepcopy(model).cpu().eval()
    for module in model.modules():
        if isinstance(module, ChannelAttention) and module.dense:
            module.register_buffer("composed", module.kernel().detach())
            del module.expand, module.mix
    for module in model.modules():
        module.__class__ = _FORMS.get(type(module), type(module))
    return model.requires_grad_(False)
