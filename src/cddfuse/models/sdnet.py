"""SDNet: squeeze two images into one and decompose it again into both.

Paper: Zhang and Ma, "SDNet: A Versatile Squeeze-and-Decomposition Network for Real-Time Image
Fusion", IJCV 2021, https://doi.org/10.1007/s11263-021-01501-8. The graph is that of the authors'
TensorFlow programs; the decomposition is only used in training.
"""

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from cddfuse.errors import InputError
from cddfuse.layers import DenseBlock, conv, leaky
from cddfuse.models.base import Card, FusionModel, Published
from cddfuse.models.foreign import translated
from cddfuse.models.shipped import harvard, roadscene

Leading = Literal["first", "second"]


def stream() -> nn.Sequential:
    """Features of one source, four layers of 16 channels: (B, 1, H, W) to (B, 64, H, W)."""
    return nn.Sequential(
        conv(1, 16, leaky(), kernel=5),
        DenseBlock(*(conv(16 * depth, 16, leaky()) for depth in (1, 2, 3)), newest="last"),
    )


class Decomposition(nn.Module):
    """The fused image to both sources, for the training losses."""

    def __init__(self) -> None:
        super().__init__()
        self.expand = conv(1, 128, leaky(), kernel=1)
        self.leading = self._branch()
        self.following = self._branch()

    def forward(self, fused: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1, H, W) in [-1, 1] to the leading and the following source, likewise."""
        x = self.expand(fused)
        return self.leading(x), self.following(x)

    @staticmethod
    def _branch() -> nn.Sequential:
        return nn.Sequential(conv(128, 16, leaky()), conv(16, 4, leaky()), conv(4, 1, nn.Tanh()))


class SDNet(FusionModel):
    """The network of the released implementation; fusing uses 28,705 of its parameters.

    In the official infrared-visible weights the decomposition into the visible image is dead (a
    constant); the fused images lean towards infrared.

    Args:
        leading: the first input of the graph. The official weights take "second" for infrared and
            visible, "first" for functional and structural medical images.
    """

    card = Card(
        name="sdnet",
        paper="https://doi.org/10.1007/s11263-021-01501-8",
        parameters=67_091,
        training_only=("decomposition",),
        receptive_radius=5,
        task_options={"mif": {"leading": "first"}},
        published=Published(
            values="[-1, 1]",
            order="second (infrared); first (PET, SPECT) for medical images",
            colour="of the visible or functional image, BT.601 studio range",
            saved="stretched",
            licence="MIT",
            weights="one per task (TensorFlow 1)",
        ),
        weights={
            "ivf": roadscene(
                "sdnet-ivf-1.safetensors",
                "724ba23913457d860b1e4d4fb439ee0f30a45461a14c40ca309b002beb7dd25e",
                "1,886 steps, 4 CPU minutes",
            ),
            "mif": harvard(
                "sdnet-mif-1.safetensors",
                "fdd12b13def40a2c8117ee5301629d81bb3298f9d0f6c56b2df0f8dfef5ee860",
                "1,886 steps, 2.9 CPU minutes",
                leading="first",
            ),
        },
        bytes_per_pixel=1550,
    )

    def __init__(self, leading: Leading = "second") -> None:
        super().__init__()
        if leading not in get_args(Leading):
            raise InputError(f"SDNet cannot have {leading=}: first and second are possible.")
        self.leads = leading
        self.leading = stream()
        self.following = stream()
        self.squeeze = conv(128, 1, nn.Tanh(), kernel=1)
        self.decomposition = Decomposition()

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Fuse: (B, 1, H, W) and (B, 1, H, W) to (B, 1, H, W)."""
        return (self.squeezed(*self.ordered(first, second)) + 1) / 2

    def ordered(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Both images in [-1, 1], the leading one first."""
        first, second = 2 * first - 1, 2 * second - 1
        return (second, first) if self.leads == "second" else (first, second)

    def squeezed(self, leading: Tensor, following: Tensor) -> Tensor:
        """The fused image, from both sources; all in [-1, 1]."""
        features = [self.leading(leading), self.following(following)]
        # The graph interleaves the streams layer by layer.
        by_layer = torch.stack([x.unflatten(1, (4, 16)) for x in features], dim=2)
        return self.squeeze(by_layer.flatten(1, 3))

    @classmethod
    def convert_checkpoint(cls, checkpoint: Mapping[str, Any]) -> dict[str, Tensor] | None:
        """State dict from the variables of the authors' TensorFlow checkpoints."""
        return translated(checkpoint, _NAMES, tensorflow=True)


_STREAMS = {"ir": "leading", "vi": "following"}  # the same names for all tasks
_LAYERS = (
    *((f"1_{theirs}", f"{ours}.0.0") for theirs, ours in _STREAMS.items()),
    *(
        (f"{layer}_{theirs}", f"{ours}.1.layers.{layer - 2}.0")
        for theirs, ours in _STREAMS.items()
        for layer in (2, 3, 4)
    ),
    ("5_fuse", "squeeze.0"),
    ("6_sept", "decomposition.expand.0"),
    *(
        (f"{layer}_{theirs}", f"decomposition.{ours}.{layer - 7}.0")
        for theirs, ours in _STREAMS.items()
        for layer in (7, 8, 9)
    ),
)
_NAMES = tuple(
    (rf"fusion_model/layer{theirs}/{kind}{theirs}", f"{ours}.{name}")
    for theirs, ours in _LAYERS
    for kind, name in (("w", "weight"), ("b", "bias"))
)
