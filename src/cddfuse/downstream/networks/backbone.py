"""Residual backbones: a small one that learns from scratch in a minute, and ResNet-18 and 34.

Paper: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016. The small one has one
block a stage and halves the size by a convolution where ResNet pools, so that persons of a few
pixels survive. The parameters of ResNet have the names of torchvision's files, which can be loaded.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cddfuse.errors import InputError

MEAN = 0.3
"""What is taken off images, for those of the night are dark."""


def convolution(inputs: int, outputs: int, *, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """3x3 convolution, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=dilation, dilation=dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(
            inputs, outputs, 3, stride, padding=dilation, dilation=dilation, bias=False
        )
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = (
            None
            if stride == 1 and inputs == outputs
            else nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        )

    def forward(self, image: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(image)))))
        return F.relu(out + (image if self.downsample is None else self.downsample(image)))


class Backbone(nn.Module):
    """Gives features at three strides.

    Shapes: (B, C, H, W) to features of `widths` channels at strides 4, 8 and 16; H and W must
    divide by 16. Values: [0, 1].
    """

    widths: tuple[int, int, int]

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features, the largest first."""
        raise NotImplementedError


class SmallBackbone(Backbone):
    """Four stages of one block, 0.4 million parameters at width 24."""

    def __init__(self, channels: int = 3, width: int = 24) -> None:
        super().__init__()
        self.widths = 2 * width, 3 * width, 4 * width
        self.stem = nn.Sequential(convolution(channels, width, stride=2), convolution(width, width))
        self.stages = nn.ModuleList(
            BasicBlock(before, after, 2)
            for before, after in zip((width, *self.widths), self.widths, strict=False)
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features, the largest first."""
        features = [self.stem(image - MEAN)]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return features[1], features[2], features[3]


_COLOUR_MEAN, _COLOUR_SCALE = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


class ResNet(Backbone):
    """ResNet-18 or 34, its last stage dilated instead of strided, as in DeepLabV3."""

    mean: Tensor
    scale: Tensor

    def __init__(self, channels: int = 3, depth: int = 18) -> None:
        super().__init__()
        self.widths = 64, 128, 512
        self.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        sizes = (64, 64, 128, 256, 512)
        for place, count in enumerate(_BLOCKS[depth], start=1):
            stride, dilation = (2, 1) if place in (2, 3) else (1, 2 if place == 4 else 1)
            blocks = [BasicBlock(sizes[place - 1], sizes[place], stride, dilation)]
            blocks += [
                BasicBlock(sizes[place], sizes[place], 1, dilation) for _ in range(count - 1)
            ]
            setattr(self, f"layer{place}", nn.Sequential(*blocks))
        rest = channels - 3
        self.register_buffer("mean", _column(_COLOUR_MEAN, rest), persistent=False)
        self.register_buffer("scale", _column(_COLOUR_SCALE, rest), persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features, the largest first."""
        stem = F.relu(self.bn1(self.conv1((image - self.mean) / self.scale)))
        features = [F.max_pool2d(stem, 3, 2, 1)]
        for place in range(1, 5):
            features.append(getattr(self, f"layer{place}")(features[-1]))
        return features[1], features[2], features[4]


def _column(values: tuple[float, ...], more: int) -> Tensor:
    """As (C, 1, 1), with the mean of the colours for channels that are none."""
    return torch.tensor([*values, *[sum(values) / 3] * more])[:, None, None]


def pretrained_backbone(path: Path, channels: int) -> ResNet:
    """A ResNet with the weights of a file: a state dict of torchvision's ResNet-18 or 34.

    Args:
        path: the file; its classifier is left out.
        channels: of the images. The filters of a fourth one are the mean of those of the colours.
    """
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds, by what is wrong with the file
        text = f"{path} cannot be read as weights ({' '.join(str(error).split())[:120]})."
        raise InputError(text, "backbone") from error
    if not isinstance(state, Mapping) or not all(isinstance(x, Tensor) for x in state.values()):
        raise InputError(f"{path} is no state dict of a ResNet-18 or ResNet-34.", "backbone")
    depth = 34 if "layer1.2.conv1.weight" in state else 18
    network = ResNet(channels, depth)
    kept = {name: value for name, value in state.items() if not name.startswith("fc.")}
    first = kept.get("conv1.weight")
    if first is not None and first.shape[1] == 3 < channels:
        extra = first.mean(1, keepdim=True).expand(-1, channels - 3, -1, -1)
        kept["conv1.weight"] = torch.cat([first, extra], 1)
    try:
        network.load_state_dict(kept)
    except RuntimeError as error:
        raise InputError(
            f"{path} does not have the weights of a ResNet-18 or ResNet-34: give a file of one.",
            setting="backbone",
        ) from error
    return network
