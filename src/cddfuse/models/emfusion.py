"""EMFusion: a densely connected network for medical images.

Paper: Xu and Ma, "EMFusion: An unsupervised enhanced medical image fusion network", Information
Fusion 2021, https://doi.org/10.1016/j.inffus.2021.06.001. The graph is that of the authors'
TensorFlow programs for CT and MRI. Those for PET and SPECT, which also treat the colour, are not
public; here their brightness takes the place of CT.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cddfuse.layers import DenseBlock, UnitTanh, conv, leaky
from cddfuse.models.base import Card, FusionModel, Published
from cddfuse.models.foreign import translated
from cddfuse.models.shipped import harvard

_GROWTH = 32


class AutoEncoder(nn.Module):
    """Auto-encoder whose features the training losses compare.

    Args:
        width: channels of the features.
        slope: of the leaky ReLUs.
    """

    def __init__(self, width: int = 128, slope: float = 0.2) -> None:
        super().__init__()

        def layer(inputs: int, outputs: int) -> nn.Sequential:
            return conv(inputs, outputs, nn.LeakyReLU(slope), border="reflect")

        self.encoder = nn.Sequential(layer(1, 32), layer(32, 64), layer(64, width))
        self.decoder = nn.Sequential(
            layer(width, 64), layer(64, 32), conv(32, 1, UnitTanh(), border="reflect")
        )

    def forward(self, image: Tensor) -> Tensor:
        """(B, 1, H, W) to the same."""
        return self.decoder(self.encoder(image))


class EMFusion(FusionModel):
    """The fusion network of the released implementation."""

    card = Card(
        name="emfusion",
        paper="https://doi.org/10.1016/j.inffus.2021.06.001",
        tasks=("mif",),
        parameters=148_545,
        smallest=2,
        receptive_radius=7,
        published=Published(
            values="[0, 1]",
            order="first (CT)",
            colour="none",
            saved="stretched",
            licence="none: all rights reserved",
            weights="3200.ckpt for CT and MRI (TensorFlow 1)",
        ),
        weights={
            "mif": harvard(
                "emfusion-mif-2.safetensors",
                "9494ec491a398bdc527e389c80d0c3ecc612622ebfda38f8c6abc73466bce07b",
                "375 steps, 4.1 CPU minutes",
            ),
        },
        bytes_per_pixel=2060,
    )

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            conv(2, _GROWTH, leaky(), border="reflect"),
            DenseBlock(
                *(conv(depth * _GROWTH, _GROWTH, leaky(), border="reflect") for depth in (1, 2, 3)),
                newest="first",
            ),
        )
        self.decoder = nn.Sequential(
            conv(4 * _GROWTH, 64, leaky(), border="reflect"),
            conv(64, 32, leaky(), border="reflect"),
            conv(32, 1, UnitTanh(), border="reflect"),
        )

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Fuse: (B, 1, H, W) and (B, 1, H, W) to (B, 1, H, W)."""
        return self.decoder(self.encoder(torch.cat([first, second], dim=1)))

    @classmethod
    def convert_checkpoint(cls, checkpoint: Mapping[str, Any]) -> dict[str, Tensor] | None:
        """State dict from the variables of the authors' TensorFlow checkpoint.

        The auto-encoders of training and the state of the optimiser are left out.
        """
        return translated(checkpoint, _NAMES, tensorflow=True)


_LAYERS = (
    (1, "encoder.0.0"),
    *((2 + index, f"encoder.1.layers.{index}.0") for index in range(3)),
    *((6 + index, f"decoder.{index}.0") for index in range(3)),  # there is no 5
)
_NAMES: tuple[tuple[str, str | None], ...] = (
    *(
        (rf"fnet/fuse/conv{theirs}/{kind}", f"{ours}.{name}")
        for theirs, ours in _LAYERS
        for kind, name in (("kernel", "weight"), ("bias", "bias"))
    ),
    (r"(?:spatial|spectral)_ED.*|.*/Adam(?:_1)?|Variable|beta\d_power", None),
)
