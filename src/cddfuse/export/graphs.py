"""Networks in the form that suits other runtimes: channels first, standard layers only.

The modules of CDDFuse are written for PyTorch on a CPU, where a 1x1 convolution is best computed as
a matrix product, with channels last. Other runtimes choose the memory layout themselves: they take
convolutions, and transposes in between would cost them more than the products.
"""

from copy import deepcopy

import torch
from torch import Tensor, nn

from cddfuse.models.base import FusionModel
from cddfuse.models.cddfuse import ChannelAttention, ChannelNorm, PixelLinear


class Graph(nn.Module):
    """A network as it is written to a file: two images (1, 1, H, W) to one."""

    def __init__(self, model: FusionModel) -> None:
        super().__init__()
        self.model = rearranged(model)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Fuse."""
        return self.model(first, second)


class Norm(ChannelNorm):
    """Layer norm over the channels, with channels first."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        x = x - x.mean(1, keepdim=True)
        x = x * torch.rsqrt((x * x).mean(1, keepdim=True) + self.eps)
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class Attention(ChannelAttention):
    """Attention as it is defined, with channels first."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return self.definition(x)

    def compose(self) -> None:
        """Make the two convolutions of the dense form one, once and for all."""
        kernel = self.kernel().detach()
        self.mix = nn.Conv2d(kernel.shape[1], len(kernel), 3, padding=1, bias=False)
        self.mix.weight = nn.Parameter(kernel, requires_grad=False)
        self.add_module("expand", nn.Identity())


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
    for module in list(model.modules()):
        module.__class__ = _FORMS.get(type(module), type(module))
        if isinstance(module, Attention) and module.dense:
            module.compose()
    return model.requires_grad_(False)
