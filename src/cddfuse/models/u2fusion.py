"""U2Fusion: a densely connected network that takes both images as two channels.

Paper: Xu et al., "U2Fusion: A Unified Unsupervised Image Fusion Network", TPAMI 2022,
https://doi.org/10.1109/TPAMI.2020.3012548. The graph is that of the authors' TensorFlow programs.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cddfuse.layers import DenseBlock, UnitTanh, conv, leaky
from cddfuse.models.base import Card, FusionModel, Published
from cddfuse.models.foreign import translated
from cddfuse.models.shipped import harvard, roadscene

_GROWTH, _DEPTH = 44, 5


class U2Fusion(FusionModel):
    """The network of the released implementation. It is not symmetric in its inputs."""

    card = Card(
        name="u2fusion",
        paper="https://doi.org/10.1109/TPAMI.2020.3012548",
        parameters=659_217,
        smallest=2,
        receptive_radius=10,
        published=Published(
            values="[0, 1]",
            order="first",
            colour="of the coloured source, BT.601",
            saved="stretched",  # until November 2023; divided by the maximum since
            licence="none: all rights reserved",
            weights="model.ckpt, one for all tasks (TensorFlow 1)",
        ),
        weights={
            "ivf": roadscene(
                "u2fusion-ivf-1.safetensors",
                "6d9fbc9222dc6204f23dbff16f1779cd6a94298cff9ba0fe206e4901f09656e6",
                "350 steps, 4 CPU minutes",
            ),
            "mif": harvard(
                "u2fusion-mif-1.safetensors",
                "3be242705fc215fc83651757fff3d71ce475cce476213799b016cbde52a0f8aa",
                "350 steps, 4.8 CPU minutes",
            ),
        },
        bytes_per_pixel=4200,
    )

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            conv(2, _GROWTH, leaky(), border="reflect"),
            DenseBlock(
                *(
                    conv(depth * _GROWTH, _GROWTH, leaky(), border="reflect")
                    for depth in range(1, _DEPTH + 1)
                ),
                newest="first",
            ),
        )
        self.decoder = nn.Sequential(
            conv((_DEPTH + 1) * _GROWTH, 128, leaky(), border="reflect"),
            conv(128, 64, leaky(), border="reflect"),
            conv(64, 32, leaky(), border="reflect"),
            conv(32, 1, UnitTanh(), border="reflect"),
        )

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Fuse: (B, 1, H, W) and (B, 1, H, W) to (B, 1, H, W)."""
        return self.decoder(self.encoder(torch.cat([first, second], dim=1)))

    @classmethod
    def convert_checkpoint(cls, checkpoint: Mapping[str, Any]) -> dict[str, Tensor] | None:
        """State dict from the variables of the authors' TensorFlow checkpoint."""
        return translated(checkpoint, _NAMES, tensorflow=True)


_LAYERS = (
    ("encoder/conv1_1", "encoder.0.0"),
    *((f"encoder/dense_block_conv{i + 1}", f"encoder.1.layers.{i}.0") for i in range(_DEPTH)),
    *((f"decoder/conv2_{i + 1}", f"decoder.{i}.0") for i in range(4)),
)
_NAMES = tuple(
    (rf"Generator(?:_1)?/{theirs}/{kind}", f"{ours}.{name}")
    for theirs, ours in _LAYERS
    for kind, name in (("kernel", "weight"), ("bias", "bias"))
)
