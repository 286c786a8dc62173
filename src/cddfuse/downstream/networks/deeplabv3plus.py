"""DeepLabV3+: atrous spatial pyramid pooling, and a decoder with features of stride 4.

Paper: Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image
Segmentation", ECCV 2018. Ours: plain instead of separable convolutions, narrow, and rates of 3, 6
and 9 where the paper has 6, 12 and 18 for images of 513 pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cddfuse.downstream.networks.backbone import Backbone, convolution

RATES = (3, 6, 9)
_DROPOUT = 0.1


def pointwise(inputs: int, outputs: int) -> nn.Sequential:
    """1x1 convolution, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class PyramidPooling(nn.Module):
    """One point, three rates and the mean of the image, joined."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [pointwise(inputs, width), *(convolution(inputs, width, dilation=r) for r in RATES)]
        )
        # Without batch normalisation, which a single value of a channel does not allow.
        self.pooled = nn.Sequential(nn.Conv2d(inputs, width, 1), nn.ReLU(inplace=True))
        self.project = pointwise(width * (len(RATES) + 2), width)
        self.dropout = nn.Dropout(_DROPOUT)

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, h, w) to (B, width, h, w)."""
        mean = self.pooled(features.mean((-2, -1), keepdim=True))
        branches = [branch(features) for branch in self.branches]
        joined = torch.cat([*branches, mean.expand(-1, -1, *features.shape[-2:])], 1)
        return self.dropout(self.project(joined))


class DeepLabV3Plus(nn.Module):
    """The segmenter. 0.6 million parameters on the small backbone."""

    def __init__(self, backbone: Backbone, classes: int, width: int = 64) -> None:
        super().__init__()
        self.backbone = backbone
        fine, _, coarse = backbone.widths
        self.pyramid = PyramidPooling(coarse, width)
        self.low = pointwise(fine, width * 3 // 8)
        self.decoder = nn.Sequential(
            convolution(width + width * 3 // 8, width),
            convolution(width, width),
            nn.Conv2d(width, classes, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) to logits (B, classes, H/4, W/4)."""
        fine, _, coarse = self.backbone(image)
        large = F.interpolate(
            self.pyramid(coarse), fine.shape[-2:], mode="bilinear", align_corners=False
        )
        return self.decoder(torch.cat([large, self.low(fine)], 1))
