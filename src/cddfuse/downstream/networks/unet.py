"""U-Net: a path down, and one up with the features of the same size.

Paper: Ronneberger, Fischer and Brox, "U-Net", MICCAI 2015. Ours: the way down is the backbone, so
the finest features are of stride 4, and the way up interpolates.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cddfuse.downstream.networks.backbone import Backbone, convolution


class UNet(nn.Module):
    """The segmenter. 0.4 million parameters on the small backbone."""

    def __init__(self, backbone: Backbone, classes: int, width: int = 48) -> None:
        super().__init__()
        self.backbone = backbone
        fine, middle, coarse = backbone.widths
        self.up = convolution(coarse + middle, width)
        self.out = nn.Sequential(convolution(width + fine, width), nn.Conv2d(width, classes, 1))

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) to logits (B, classes, H/4, W/4)."""
        fine, middle, coarse = self.backbone(image)
        features = self.up(torch.cat([_enlarged(coarse, middle), middle], 1))
        return self.out(torch.cat([_enlarged(features, fine), fine], 1))


def _enlarged(features: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(features, like.shape[-2:], mode="bilinear", align_corners=False)
