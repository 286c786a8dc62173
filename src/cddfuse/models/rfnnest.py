"""RFN-Nest: a nested auto-encoder with a residual fusion network at each of its four scales.

Paper: Li, Wu and Kittler, "RFN-Nest: An end-to-end residual fusion network for infrared and visible
images", Information Fusion 2021, https://arxiv.org/abs/2103.04286. The graph is that of the
authors' programs, which cut images above 512 pixels into four tiles; here they are fused whole.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cddfuse.layers import conv
from cddfuse.models.base import Card, Decomposed, FusionModel, Part, Published
from cddfuse.models.foreign import translated

WIDTHS = (64, 112, 160, 208)


def layer(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """A convolution with reflection padding, followed by a ReLU."""
    return conv(inputs, outputs, nn.ReLU(), kernel=kernel, border="reflect")


def block(inputs: int, outputs: int) -> nn.Sequential:
    """A 3x3 convolution to half the channels, then a 1x1 convolution."""
    return nn.Sequential(layer(inputs, inputs // 2, 3), layer(inputs // 2, outputs, 1))


class Encoder(nn.Module):
    """Multi-scale encoder: an image to features at four scales."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = layer(1, 16, 1)
        inputs = (16, *WIDTHS[:-1])
        self.scales = nn.ModuleList(block(*widths) for widths in zip(inputs, WIDTHS, strict=True))

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 1, H, W) in [0, 255] to (B, C, H, W), (B, C, H / 2, W / 2) and so on."""
        features = [self.scales[0](self.stem(image))]
        for scale in list(self.scales)[1:]:
            features.append(scale(F.max_pool2d(features[-1], 2)))
        return features


class Column(nn.Module):
    """Column `number` of the nested decoder: refines each scale with the next coarser one."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            block(number * here + below, here)
            for here, below in list(pairwise(WIDTHS))[: len(WIDTHS) - number]
        )

    def forward(self, known: list[list[Tensor]]) -> list[list[Tensor]]:
        """Features of each scale, oldest first, to the same with one more, for one scale less."""
        return [
            [*here, refine(torch.cat([*here, _like(below[-1], here[0])], dim=1))]
            for refine, (here, below) in zip(self.blocks, pairwise(known), strict=True)
        ]


class Decoder(nn.Module):
    """Nested decoder: features at four scales to an image."""

    def __init__(self) -> None:
        super().__init__()
        self.columns = nn.ModuleList(Column(number) for number in (1, 2, 3))
        self.output = layer(WIDTHS[0], 1, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Features to (B, 1, H, W), non-negative and unbounded."""
        known = [[feature] for feature in features]
        for column in self.columns:
            known = column(known)
        return self.output(known[0][-1])


class ResidualFusion(nn.Module):
    """Residual fusion network: the features of both images at one scale to one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.shortcut = layer(2 * width, width, 3)
        self.first = layer(width, width, 3)
        self.second = layer(width, width, 3)
        self.mix = nn.Sequential(
            layer(2 * width, width, 1), layer(width, width, 3), layer(width, width, 3)
        )

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Two of (B, C, H, W) to one."""
        mixed = self.mix(torch.cat([self.second(second), self.first(first)], dim=1))
        return self.shortcut(torch.cat([second, first], dim=1)) + mixed


class RFNNest(FusionModel):
    """The network of the released implementation, whose weights are no longer available.

    The decoder's output has no fixed range, so each image is stretched to [0, 1], as the authors do
    when they save it.
    """

    card = Card(
        name="rfnnest",
        paper="https://arxiv.org/abs/2103.04286",
        tasks=("ivf",),
        parameters=7_524_249,
        smallest=16,
        published=Published(
            values="[0, 255]",
            order="second (infrared)",
            colour="none",
            saved="stretched",
            licence="none: all rights reserved",
            weights="nestfuse_gray_1e2.model and Final_epoch_2_...ssim_vi.model",
        ),
        bytes_per_pixel=6050,
    )

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.fusion = nn.ModuleList(ResidualFusion(width) for width in WIDTHS)
        self.decoder = Decoder()

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Fuse: (B, 1, H, W) and (B, 1, H, W) to (B, 1, H, W)."""
        return self.decode(self.fused(self.encode(first), self.encode(second)))

    def decomposed(self, first: Tensor, second: Tensor) -> Decomposed:
        """Features at four scales, scale 1 being the finest."""
        one, two = self.encode(first), self.encode(second)
        scales = zip(one, two, self.fused(one, two), strict=True)
        parts = {f"scale {number}": Part(*scale) for number, scale in enumerate(scales, 1)}
        return Decomposed(parts, lambda fused, _: self.decode(list(fused.values())))

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Fused features at four scales to the fused image (B, 1, H, W)."""
        image = self.decoder(features)
        low, high = image.amin((1, 2, 3), True), image.amax((1, 2, 3), True)
        return (image - low) / (high - low + 1e-5)

    def encode(self, image: Tensor) -> list[Tensor]:
        """Features of an image in [0, 1], at four scales."""
        return self.encoder(255 * image)

    def fused(self, first: Sequence[Tensor], second: Sequence[Tensor]) -> list[Tensor]:
        """Fused features at four scales."""
        return [fuse(one, two) for fuse, one, two in zip(self.fusion, first, second, strict=True)]

    @classmethod
    def convert_checkpoint(cls, checkpoint: Mapping[str, Any]) -> dict[str, Tensor] | None:
        """State dict from the file of the auto-encoder, that of the fusion, or both as one."""
        return translated(checkpoint, _NAMES)


def _like(x: Tensor, target: Tensor) -> Tensor:
    """Upsample by 2 (nearest); reflection padding restores odd sides."""
    x = F.interpolate(x, scale_factor=2, mode="nearest")
    missing = [target.shape[axis] - x.shape[axis] for axis in (-1, -2)]
    return F.pad(x, (0, missing[0], 0, missing[1]), mode="reflect")


_NAMES = (
    (r"conv0\.conv2d\.(\w+)", r"encoder.stem.0.\1"),
    (r"conv_out\.conv2d\.(\w+)", r"decoder.output.0.\1"),
    *(
        (rf"DB{scale + 1}_0\.denseblock\.(\d)\.conv2d\.(\w+)", rf"encoder.scales.{scale}.\1.0.\2")
        for scale in range(4)
    ),
    *(
        (
            rf"DB{scale + 1}_{column + 1}\.denseblock\.(\d)\.conv2d\.(\w+)",
            rf"decoder.columns.{column}.blocks.{scale}.\1.0.\2",
        )
        for column in range(3)
        for scale in range(3 - column)
    ),
    *(
        (rf"fusion_block{scale + 1}\.{theirs}\.conv2d\.(\w+)", rf"fusion.{scale}.{ours}.0.\1")
        for scale in range(4)
        for theirs, ours in (
            ("conv_fusion", "shortcut"),
            ("conv_ir", "second"),
            ("conv_vi", "first"),
            *((rf"bottelblock\.{index}", f"mix.{index}") for index in range(3)),
        )
    ),
)
