"""DIDFuse: rebuild each source; backgrounds of both are to be alike, details different.

Paper: Zhao et al., IJCAI 2020. The losses are those of the authors' program. Other than there:
crops are at random places where the program cuts out the middle, batches are drawn in a new order
every epoch, and the reward for different details is a loss that ends at 0.
"""

from dataclasses import dataclass
from typing import cast

import torch.nn.functional as F

from cddfuse import losses
from cddfuse.models.base import FusionModel
from cddfuse.models.didfuse import DIDFuse, Rule
from cddfuse.pair import ImagePair
from cddfuse.recipes.base import Recipe, Stage, Term


@dataclass(frozen=True)
class DIDFuseRecipe(Recipe):
    """Settings of DIDFuse: the weights of its terms."""

    network = DIDFuse

    reconstruction_ssim: float = 10.0
    """Weight of (1 - SSIM) / 2 of both reconstructions."""

    reconstruction_mse: float = 2.0
    """Weight of the squared error of both reconstructions."""

    reconstruction_gradient: float = 10.0
    """Weight of the gradient error of the first image's reconstruction."""

    background: float = 1.0
    """Weight of the difference of the backgrounds."""

    detail_difference: float = 0.5
    """Weight of 1 minus the difference of the details."""

    rule: Rule = "sum"
    """How features of both sources are fused; training does not depend on it."""

    def stages(self) -> tuple[Stage, ...]:
        """One."""
        weights = {
            "reconstruction_ssim_first": self.reconstruction_ssim,
            "reconstruction_ssim_second": self.reconstruction_ssim,
            "reconstruction_mse_first": self.reconstruction_mse,
            "reconstruction_mse_second": self.reconstruction_mse,
            "reconstruction_gradient_first": self.reconstruction_gradient,
            "background": self.background,
            "detail_difference": self.detail_difference,
        }
        return (Stage("separate", sum(self.epochs), ("encoder", "decoder"), separation, weights),)


def separation(model: FusionModel, pair: ImagePair) -> dict[str, Term]:
    """Terms of the one stage."""
    model = cast(DIDFuse, model)
    one, two = model.encoder(pair.first), model.encoder(pair.second)
    first, second = model.decoder(one), model.decoder(two)
    return {
        "reconstruction_ssim_first": lambda: losses.reconstruction_ssim(first, pair.first),
        "reconstruction_ssim_second": lambda: losses.reconstruction_ssim(second, pair.second),
        "reconstruction_mse_first": lambda: losses.reconstruction_mse(first, pair.first),
        "reconstruction_mse_second": lambda: losses.reconstruction_mse(second, pair.second),
        "reconstruction_gradient_first": lambda: losses.reconstruction_gradient(first, pair.first),
        "background": lambda: F.l1_loss(one.background, two.background).tanh(),
        "detail_difference": lambda: 1 - F.l1_loss(one.detail, two.detail).tanh(),
    }


PRESETS = {
    "released": DIDFuseRecipe(
        sampling="random",
        min_contrast=0,
        batch=24,
        epochs=(120,),
        learning_rate=1e-3,
        lr_step=40,
        lr_gamma=0.1,
        clip_norm=0,
    ),
    "quick": DIDFuseRecipe(
        crop=64,
        sampling="random",
        flips=True,
        batch=6,
        epochs=(1,),
        minutes=20,
        learning_rate=1e-3,
        warmup=20,
        schedule="cosine",
        min_lr=1e-5,
        clip_norm=0,
    ),
}
