"""DIDFuse: background and detail features of one encoder, fused by a fixed rule.

Paper: Zhao et al., "DIDFuse: Deep Image Decomposition for Infrared and Visible Image Fusion",
IJCAI 2020, https://arxiv.org/abs/2003.09210. Its published results are those of the rule "sum",
which the decoder is not trained on: darker and higher in contrast than the average.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cddfuse.errors import InputError
from cddfuse.layers import conv
from cddfuse.layers.convolutions import Border
from cddfuse.models.base import Card, Decomposed, FusionModel, Part, Published
from cddfuse.models.foreign import inner, translated
from cddfuse.models.shipped import roadscene

Rule = Literal["sum", "average", "activity"]


class Features(NamedTuple):
    """Features of an image; each (B, 64, H, W)."""

    shallow: Tensor
    deeper: Tensor

    background: Tensor
    """Low-frequency content that both modalities share."""

    detail: Tensor
    """High-frequency content that is specific to the modality."""


def _layer(inputs: int, outputs: int, activation: nn.Module, border: Border = "zeros") -> nn.Module:
    return conv(inputs, outputs, nn.BatchNorm2d(outputs), activation, border=border)


class Encoder(nn.Module):
    """Two layers, and a head for each kind of feature."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = _layer(1, width, nn.PReLU(), "reflect")
        self.shared = _layer(width, width, nn.PReLU())
        self.background = _layer(width, width, nn.Tanh())
        self.detail = _layer(width, width, nn.Tanh())

    def forward(self, image: Tensor) -> Features:
        """(B, 1, H, W) to features."""
        shallow = self.stem(image)
        deeper = self.shared(shallow)
        return Features(shallow, deeper, self.background(deeper), self.detail(deeper))


class Decoder(nn.Module):
    """Features to an image, with skip connections from the encoder."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.merge = _layer(2 * width, width, nn.PReLU())
        self.deeper = _layer(2 * width, width, nn.PReLU())
        self.output = _layer(2 * width, 1, nn.Sigmoid(), "reflect")

    def forward(self, features: Features) -> Tensor:
        """Features to (B, 1, H, W)."""
        x = self.merge(torch.cat([features.background, features.detail], dim=1))
        x = self.deeper(torch.cat([x, features.deeper], dim=1))
        return self.output(torch.cat([x, features.shallow], dim=1))


class DIDFuse(FusionModel):
    """The network of the released implementation.

    Args:
        rule: fusion rule: the sum of the features of both images (the published results), their
            average, or an average weighted by local activity (the authors' "l1_norm").
    """

    card = Card(
        name="didfuse",
        paper="https://arxiv.org/abs/2003.09210",
        tasks=("ivf",),
        parameters=260_935,
        smallest=2,
        receptive_radius=6,
        published=Published(
            values="[0, 1]",
            order="either",
            colour="none",
            saved="rounded",
            licence="none: all rights reserved",
            weights="Encoder_weight_IJCAI.pkl and Decoder_weight_IJCAI.pkl",
            norms="batch, running",
        ),
        weights={
            "ivf": roadscene(
                "didfuse-ivf-1.safetensors",
                "7515cc2a3c70a0ad5e7b2f01870b5bf287749cd65b693720284f37174c740dc1",
                "307 steps, 4 CPU minutes",
            ),
        },
        bytes_per_pixel=4900,
    )

    def __init__(self, rule: Rule = "sum") -> None:
        super().__init__()
        if rule not in get_args(Rule):
            raise InputError(f"DIDFuse has no rule {rule}: known are {', '.join(get_args(Rule))}.")
        if rule == "activity":
            self.card = replace(type(self).card, receptive_radius=7)
        self.rule = rule
        self.encoder = Encoder(64)
        self.decoder = Decoder(64)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Fuse: (B, 1, H, W) and (B, 1, H, W) to (B, 1, H, W)."""
        one, two = self.encoder(first), self.encoder(second)
        return self.decoder(Features(*map(self.merged, one, two)))

    def decomposed(self, first: Tensor, second: Tensor) -> Decomposed:
        """Background and detail features, and the skip connections."""
        one, two = self.encoder(first), self.encoder(second)
        parts = {
            kind: Part(a, b, self.merged(a, b))
            for kind, a, b in zip(Features._fields, one, two, strict=True)
        }
        return Decomposed(parts, lambda fused, _: self.decoder(Features(**fused)))

    def merged(self, one: Tensor, two: Tensor) -> Tensor:
        """Fused features, from those of both images; all (B, C, H, W)."""
        if self.rule == "activity":
            of_one, of_two = (_activity(features) for features in (one, two))
            # The authors divide 0 by 0 where both features are zero; here that gives 0.
            total = (of_one + of_two).clamp(min=torch.finfo(one.dtype).tiny)
            return (of_one * one + of_two * two) / total
        return (one + two) / (2 if self.rule == "average" else 1)

    @classmethod
    def convert_checkpoint(cls, checkpoint: Mapping[str, Any]) -> dict[str, Tensor] | None:
        """State dict from the encoder's file, the decoder's, or both as one."""
        return translated(inner(checkpoint, "weight"), _NAMES)


def _activity(features: Tensor) -> Tensor:
    return F.avg_pool2d(features.abs().sum(1, keepdim=True), 3, stride=1, padding=1)


# In the authors' network padding is a separate layer, hence the offset.
_LAYERS = (
    (1, "encoder.stem", 1),
    (2, "encoder.shared", 0),
    (3, "encoder.background", 0),
    (4, "encoder.detail", 0),
    (5, "decoder.merge", 0),
    (6, "decoder.deeper", 0),
    (7, "decoder.output", 1),
)
_NAMES = tuple(
    (rf"cov{number}\.cov{number}\.{index + offset}\.(\w+)", rf"{ours}.{index}.\1")
    for number, ours, offset in _LAYERS
    for index in range(3)
)
