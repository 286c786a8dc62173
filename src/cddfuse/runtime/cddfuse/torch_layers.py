"""The layers of CDDFuse for one patch, in PyTorch: for GPUs, and where Numba is missing."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cddfuse.models.cddfuse import ChannelAttention, DetailNode, GatedFeedForward, TransformerBlock
from cddfuse.runtime.cddfuse.steps import Attention, Layer, Step
from cddfuse.runtime.patches import Patch


class Window(NamedTuple):
    """A patch with a border of one pixel, except where the image ends."""

    image: Tensor
    """(1, C, h, w)."""

    missing: list[int]
    """Border pixels outside the image: left, right, above, below."""

    def padded(self, x: Tensor, mode: str = "constant") -> Tensor:
        """Values of the window, padded where the image ends."""
        return F.pad(x, self.missing, mode=mode)

    def inside(self) -> Tensor:
        """The patch without the border."""
        return self.padded(self.image)[..., 1:-1, 1:-1]


def _window(x: Tensor, patch: Patch) -> Window:
    height, width = x.shape[:2]
    missing = [patch.left == 0, patch.right == width, patch.top == 0, patch.bottom == height]
    image = patch.grown(1, height, width).of(x).permute(2, 0, 1)[None]
    return Window(image, [int(one) for one in missing])


def _layer(work: Callable[[Window], Tensor]) -> Layer:
    """A layer from a function of a window that returns (1, C, h, w)."""

    def layer(x: Tensor, patch: Patch, target: Tensor, *, add: bool = False) -> None:
        place, result = patch.of(target), work(_window(x, patch))[0].permute(1, 2, 0)
        place.copy_(place + result if add else result)

    return layer


def steps(block: nn.Module) -> list[Step]:
    """The layers of a block."""
    if isinstance(block, DetailNode):
        return [_layer(partial(_couple_one, block)), _layer(partial(_couple_two, block))]
    assert isinstance(block, TransformerBlock)
    module = block.attention
    assert isinstance(module, ChannelAttention)
    channels = module.project.in_channels
    both = _mixing(module, slice(2 * channels))
    value = _mixing(module, slice(2 * channels, None))

    def sums(x: Tensor, patch: Patch) -> tuple[Tensor, Tensor]:
        window = _window(x, patch)
        mixed = both(window, block.norm1(window.image)).flatten(2)[0]
        products = mixed[:channels] @ mixed[channels:].t()
        return products.double(), mixed.square().sum(1).double()

    def values(matrix: Tensor) -> Layer:
        return _layer(partial(_attend, block, value, matrix[:, :, None, None]))

    return [Attention(module, sums, values), _layer(partial(_feed_forward, block))]


def convolution(module: nn.Conv2d, slope: float = 1.0) -> Layer:
    """3x3 convolution with zero padding, leaky ReLU."""

    def work(window: Window) -> Tensor:
        return F.leaky_relu(F.conv2d(window.padded(window.image), module.weight), slope)

    return _layer(work)


def merge(module: nn.Conv2d) -> Callable[[Tensor, Tensor, Tensor, Patch], None]:
    """1x1 convolution of the concatenation of two maps."""
    matrix = module.weight.detach()[:, :, 0, 0].t()

    def work(x: Tensor, y: Tensor, target: Tensor, patch: Patch) -> None:
        patch.of(target).copy_(torch.cat([patch.of(x), patch.of(y)], dim=2) @ matrix)

    return work


Mixing = Callable[[Window, Tensor], Tensor]


def _mixing(module: ChannelAttention, part: slice) -> Mixing:
    """A function of a window and its normalised values: queries, keys or values, (1, ., h, w)."""
    if module.dense:
        kernel = module.kernel().detach()[part]
        return lambda window, normed: F.conv2d(window.padded(normed), kernel)
    expand, mix = module.expand.weight[part], module.mix.weight[part]
    return lambda window, normed: F.conv2d(
        window.padded(F.conv2d(normed, expand)), mix, groups=len(mix)
    )


def _attend(block: TransformerBlock, value: Mixing, matrix: Tensor, window: Window) -> Tensor:
    return window.inside() + F.conv2d(value(window, block.norm1(window.image)), matrix)


def _feed_forward(block: TransformerBlock, window: Window) -> Tensor:
    module = block.feed_forward
    assert isinstance(module, GatedFeedForward)
    wide = window.padded(module.expand(block.norm2(window.image)))
    gate, x = F.conv2d(wide, module.mix.weight, groups=module.mix.groups).chunk(2, dim=1)
    return window.inside() + module.project(F.gelu(gate) * x)


def _couple_one(node: DetailNode, window: Window) -> Tensor:
    one, two = node.shuffle(window.image).chunk(2, dim=1)
    change = _bottleneck(node.phi, one, window)
    one, two = (window.padded(x, "reflect")[..., 1:-1, 1:-1] for x in (one, two))
    return torch.cat([one, two + change], dim=1)


def _couple_two(node: DetailNode, window: Window) -> Tensor:
    two = window.image.chunk(2, dim=1)[1]
    scale, shift = (_bottleneck(module, two, window) for module in (node.rho, node.eta))
    one, two = window.inside().chunk(2, dim=1)
    return torch.cat([one * scale.exp() + shift, two], dim=1)


def _bottleneck(module: nn.Sequential, x: Tensor, window: Window) -> Tensor:
    expand, bend, _, mix, limit, project = module
    return project(limit(mix(window.padded(bend(expand(x)), "reflect"))))
