"""TarDAL: a dense generator, trained against a target and a detail discriminator.

Paper: Liu et al., "Target-aware Dual Adversarial Learning and a Multi-scenario Multi-Modality
Benchmark to Fuse Infrared and Visible for Object Detection", CVPR 2022,
https://arxiv.org/abs/2203.16220. The generator is the same in both releases of the authors.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cddfuse.errors import InputError
from cddfuse.layers import DenseBlock, conv
from cddfuse.models.base import Card, FusionModel, Published
from cddfuse.models.foreign import inner, translated
from cddfuse.models.shipped import roadscene

Statistics = Literal["running", "image"]


class Norm(nn.BatchNorm2d):
    """Batch norm, or normalisation by the statistics of each image."""

    def __init__(self, channels: int, statistics: Statistics) -> None:
        super().__init__(channels)
        self.alone = statistics == "image"

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        if self.alone:
            return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)
        return super().forward(x)


class TarDAL(FusionModel):
    """The generator of the released implementation.

    Args:
        statistics: those that the norms use. The authors run their variant DT (`tardal.pt`) in
            training mode, one image at a time, which normalises each image by its own: "image". TT
            and CT (`tardal+.pt`, `tardal++.pt`) use the running ones.
    """

    card = Card(
        name="tardal",
        paper="https://arxiv.org/abs/2203.16220",
        tasks=("ivf",),
        parameters=296_577,
        smallest=2,
        receptive_radius=8,
        published=Published(
            values="[0, 1]",
            order="second (infrared)",
            colour="of the visible image, YCrCb of OpenCV",
            saved="rounded",
            licence="none for the first release (v0), GPL-3.0 for the second (v1)",
            weights="tardal.pt (DT), tardal+.pt (TT), tardal++.pt (CT)",
            norms="batch: running, or of each image alone (DT)",
        ),
        weights={
            "ivf": roadscene(
                "tardal-ivf-1.safetensors",
                "7eca578dd3b51812c8750372baeebadf545e7842f50b42cfdf44cb577b37bffa",
                "639 steps, 4 CPU minutes",
            ),
        },
        bytes_per_pixel=2050,
    )

    def __init__(self, statistics: Statistics = "running") -> None:
        super().__init__()
        if statistics not in get_args(Statistics):
            raise InputError(f"TarDAL cannot have {statistics=}: running and image are possible.")
        if statistics == "image":
            self.card = replace(type(self).card, receptive_radius=None)
        self.encoder = self._layer(2, 32, statistics)
        self.dense = DenseBlock(
            *(self._layer(32 * depth, 32, statistics) for depth in (1, 2, 3)), newest="last"
        )
        self.fuse = nn.Sequential(
            conv(128, 128, nn.ReLU()),
            self._layer(128, 64, statistics),
            self._layer(64, 32, statistics),
            conv(32, 1, nn.Tanh()),
        )

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Fuse: (B, 1, H, W) and (B, 1, H, W) to (B, 1, H, W)."""
        return self.generate(first, second).clamp(0, 1)

    def generate(self, first: Tensor, second: Tensor) -> Tensor:
        """The fused image before clipping, in [-1, 1]."""
        return self.fuse(self.dense(self.encoder(torch.cat([second, first], dim=1))))

    @staticmethod
    def _layer(inputs: int, outputs: int, statistics: Statistics) -> nn.Sequential:
        return conv(inputs, outputs, Norm(outputs, statistics), nn.ReLU())

    @classmethod
    def convert_checkpoint(cls, checkpoint: Mapping[str, Any]) -> dict[str, Tensor] | None:
        """State dict from a file of either release of the authors."""
        return translated(inner(checkpoint, "fuse"), _NAMES)

    @classmethod
    def implied_options(cls, checkpoint: Mapping[str, Any]) -> dict[str, Any]:
        """Statistics "image" if the running ones have never been updated (DT)."""
        state = inner(checkpoint, "fuse")
        counted = [value for name, value in state.items() if name.endswith("_batches_tracked")]
        unused = not state.get("use_eval", True) or not any(map(bool, counted))
        return {"statistics": "image" if unused else "running"}


_NAMES = (
    (r"dense\.(\d\..+)", r"dense.layers.\1"),
    (r"((?:encoder|fuse)\..+)", r"\1"),
    (r"use_eval", None),
)
