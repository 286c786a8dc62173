"""RFN-Nest: learn to rebuild images, then to fuse their features.

Paper: Li, Wu and Kittler, Information Fusion 2021, with the losses of the authors' programs: values
of 0 to 255 count in the squared errors. Other than there: both stages learn from the same crops of
the pairs (there COCO and KAIST), both images of a pair are rebuilt, SSIM takes the range of its
values as known, and has as many of its five scales as fit the crop (176 pixels for all). Initial
values are He's, and those of the last layer positive: with PyTorch's own the ReLU that ends the
network is dead from the start for about every other seed, and then nothing is learned.
"""

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cddfuse import losses
from cddfuse.errors import InputError
from cddfuse.layers import convolutions
from cddfuse.models.base import FusionModel
from cddfuse.models.rfnnest import RFNNest
from cddfuse.pair import ImagePair
from cddfuse.recipes.base import Recipe, Stage, Term, frozen

_SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_WINDOW = 11
_FACTORS = (1.0, 10.0, 100.0, 1000.0)  # of the features, from the full size down


@dataclass(frozen=True)
class RFNNestRecipe(Recipe):
    """Settings of RFN-Nest."""

    network = RFNNest

    reconstruction_mse: float = 1.0
    """Weight of the squared error of reconstructions, of values to 255, stage one."""

    reconstruction_ms_ssim: float = 100.0
    """Weight of 1 - multi-scale SSIM of reconstructions, stage one."""

    fused_ms_ssim: float = 700.0
    """Weight of 1 - multi-scale SSIM of the fused and the first image, stage two."""

    features: float = 1.0
    """Weight of the squared error of the fused features, stage two."""

    share_first: float = 3.0
    """Factor of the first image's features in the target of the fused ones."""

    share_second: float = 6.0
    """Factor of the second image's features in the target of the fused ones."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.epochs) != 2:
            raise InputError(f"epochs is {self.epochs}: RFN-Nest has two stages.", setting="epochs")

    def create_model(self) -> FusionModel:
        """The network, untrained."""
        model = cast(RFNNest, super().create_model())
        for layer in convolutions(model):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        (last,) = convolutions(model.decoder.output)
        with torch.no_grad():
            last.weight.normal_(std=1 / last.in_channels).abs_()
        return model

    def stages(self) -> tuple[Stage, ...]:
        """Rebuild (encoder and decoder), then fuse (the networks between them)."""

        def terms(model: FusionModel, pair: ImagePair) -> dict[str, Term]:
            return fusion(model, pair, self.share_first, self.share_second)

        rebuild = {
            "reconstruction_mse": self.reconstruction_mse,
            "reconstruction_ms_ssim": self.reconstruction_ms_ssim,
        }
        fuse = {"fused_ms_ssim": self.fused_ms_ssim, "features": self.features}
        return (
            Stage("rebuild", self.epochs[0], ("encoder", "decoder"), reconstruction, rebuild),
            Stage("fuse", self.epochs[1], ("fusion",), terms, fuse),
        )


def reconstruction(model: FusionModel, pair: ImagePair) -> dict[str, Term]:
    """Terms of stage one."""
    model = cast(RFNNest, model)
    images = torch.cat([pair.first, pair.second])
    again = model.decoder(model.encode(images)) / 255
    return {
        "reconstruction_mse": lambda: 255**2 * F.mse_loss(again, images),
        "reconstruction_ms_ssim": lambda: 1 - ms_ssim(again, images),
    }


def fusion(
    model: FusionModel, pair: ImagePair, share_first: float, share_second: float
) -> dict[str, Term]:
    """Terms of stage two."""
    model = cast(RFNNest, model)
    with torch.no_grad():
        first, second = model.encode(pair.first), model.encode(pair.second)
    fused = model.fused(first, second)
    image = frozen(model.decoder, fused)
    low, high = image.min(), image.max()
    wanted = [
        share_first * one + share_second * two for one, two in zip(first, second, strict=True)
    ]
    stretched = (image - low) / (high - low + 1e-5)

    def features() -> Tensor:
        errors = [
            factor * F.mse_loss(x, target)
            for factor, x, target in zip(_FACTORS, fused, wanted, strict=True)
        ]
        return torch.stack(errors).sum()

    return {
        "features": features,
        "fused_ms_ssim": lambda: 1 - ms_ssim(stretched, pair.first),
    }


def ms_ssim(image: Tensor, reference: Tensor) -> Tensor:
    """The authors' form of multi-scale SSIM: the coarsest SSIM counts once for every finer scale.

    Images (B, 1, H, W) in [0, 1]; a scalar.
    """
    contrasts: list[Tensor] = []
    while True:
        similarity, contrast = losses.valid_ssim_and_contrast(image, reference)
        last = len(contrasts) == len(_SCALES) - 1 or min(image.shape[-2:]) // 2 < _WINDOW
        if last:
            break
        contrasts.append((contrast + 1) / 2)
        image, reference = F.avg_pool2d(image, 2), F.avg_pool2d(reference, 2)
    coarsest = ((similarity + 1) / 2) ** _SCALES[len(contrasts)]
    if not contrasts:
        return coarsest
    powers = [x**weight for x, weight in zip(contrasts, _SCALES, strict=False)]
    return torch.stack([power * coarsest for power in powers]).prod()


PRESETS = {
    "released": RFNNestRecipe(
        crop=256,
        sampling="random",
        min_contrast=0,
        batch=4,
        epochs=(2, 2),
        schedule="constant",
        clip_norm=0,
    ),
    "quick": RFNNestRecipe(
        crop=64,
        sampling="random",
        flips=True,
        batch=4,
        epochs=(1, 1),
        minutes=30,
        learning_rate=3e-4,
        warmup=20,
        schedule="cosine",
        min_lr=1e-5,
        clip_norm=0,
    ),
}
