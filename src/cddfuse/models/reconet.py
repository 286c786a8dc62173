"""ReCoNet: a tiny recurrent fusion network with attention on both images.

Paper: Huang et al., "ReCoNet: Recurrent Correction Network for Fast and Efficient Multi-modality
Image Fusion", ECCV 2022, https://arxiv.org/abs/2209.12538. The graph is that of the authors' first
release (v0), which their weights are for, without its registration part.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from cddfuse.layers import conv
from cddfuse.models.base import Card, FusionModel, Published
from cddfuse.models.foreign import translated
from cddfuse.models.shipped import roadscene

_RECURRENCES = 3


class Recurrence(NamedTuple):
    """Result of one recurrence; each (B, 1, H, W)."""

    fused: Tensor
    """In [-1, 1]."""

    attention_first: Tensor
    attention_second: Tensor


class ReCoNet(FusionModel):
    """The network of the released implementation."""

    card = Card(
        name="reconet",
        paper="https://arxiv.org/abs/2209.12538",
        tasks=("ivf",),
        parameters=7_527,
        receptive_radius=5 * _RECURRENCES,
        published=Published(
            values="[0, 1]",
            order="second (infrared)",
            colour="none",
            saved="rounded",
            licence="MIT",
            weights="params.pth of the archive (v0)",
            norms="batch, running",
        ),
        weights={
            "ivf": roadscene(
                "reconet-ivf-2.safetensors",
                "c6165d918d24352cc0e5aa04bb73cac725553c1321ec37a2746eb93a573d97a4",
                "1,330 steps, 4.8 CPU minutes",
            ),
        },
        bytes_per_pixel=1590,
    )

    def __init__(self) -> None:
        super().__init__()
        self.attention_first = nn.Conv2d(2, 1, 3, padding=1, bias=False)
        self.attention_second = nn.Conv2d(2, 1, 3, padding=1, bias=False)
        self.spread = nn.ModuleList(
            conv(3, 64, nn.BatchNorm2d(64), nn.ReLU(), dilation=dilation) for dilation in (1, 2, 3)
        )
        self.merge = conv(3 * 64, 1, nn.BatchNorm2d(1), nn.Tanh())

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Fuse: (B, 1, H, W) and (B, 1, H, W) to (B, 1, H, W)."""
        return self.recurrences(first, second)[-1].fused.clamp(0, 1)

    def recurrences(self, first: Tensor, second: Tensor) -> list[Recurrence]:
        """All recurrences, with shared weights, starting from the pixel-wise maximum."""
        turns: list[Recurrence] = []
        fused = torch.maximum(first, second)
        for _ in range(_RECURRENCES):
            to_first = _attention(self.attention_first, first, fused)
            to_second = _attention(self.attention_second, second, fused)
            x = torch.cat([second * to_second, fused, first * to_first], dim=1)
            fused = self.merge(torch.cat([branch(x) for branch in self.spread], dim=1))
            turns.append(Recurrence(fused, to_first, to_second))
        return turns

    @classmethod
    def convert_checkpoint(cls, checkpoint: Mapping[str, Any]) -> dict[str, Tensor] | None:
        """State dict from the authors' `params.pth`."""
        return translated(checkpoint, _NAMES)


def _attention(layer: nn.Module, image: Tensor, fused: Tensor) -> Tensor:
    both = torch.cat([image, fused], dim=1)
    return layer(torch.cat([both.amax(1, True), both.mean(1, True)], dim=1)).sigmoid()


_NAMES = (
    (r"att_a_conv\.weight", "attention_second.weight"),
    (r"att_b_conv\.weight", "attention_first.weight"),
    *((rf"dil_conv_{index + 1}\.(.+)", rf"spread.{index}.\1") for index in range(3)),
    (r"fus_conv\.(.+)", r"merge.\1"),
)
