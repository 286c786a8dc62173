"""DIDFuse: rebuild each source; backgrounds of both are to be alike, details different.

Paper: Zhao et al., IJCAI 2020. The losses are those of the authors' program. Other than there:
crops are at random places where the program cuts out the middle, batches are drawn in a new order
every epoch, and the reward for different details is a loss that ends at 0.
"""

from dataclasses import dataclass
from typing import cast

import torch.nn.functional as F
from torch import Tensor

from cddfuse import losses
from cddfuse.models.base import FusionModel
from cddfuse.models.didfuse import DIDFuse
from cddfuse.pair import ImagePair
from cddfuse.recipes.base import Recipe, Stage


@dataclass(frozen=True)
class DIDFuseRecipe(Recipe):
    """Settings of DIDFuse: the weights of its terms."""

    structural: float = 10.0
    """Weight of (1 - SSIM) / 2 of both reconstructions."""

    squared: float = 2.0
    """Weight of the squared error of both reconstructions."""

    edges: float = 10.0
    """Weight of the gradient error of the first image's reconstruction."""

    background: float = 1.0
    """Weight of the difference of the backgrounds."""

    difference: float = 0.5
    """Weight of what the details lack in difference."""

    def create_model(self) -> DIDFuse:
        """The network, untrained."""
        return DIDFuse()

    def stages(self) -> tuple[Stage, ...]:
        """One."""
        weights = {
            "structural_first": self.structural,
            "structural_second": self.structural,
            "squared_first": self.squared,
            "squared_second": self.squared,
            "edges_first": self.edges,
            "background": self.background,
            "detail": self.difference,
        }
        return (Stage("separate", sum(self.epochs), ("encoder", "decoder"), separation, weights),)


def separation(model: FusionModel, pair: ImagePair) -> dict[str, Tensor]:
    """Terms of the one stage."""
    model = cast(DIDFuse, model)
    one, two = model.encoder(pair.first), model.encoder(pair.second)
    first, second = model.decoder(one), model.decoder(two)
    return {
        "structural_first": losses.structural(first, pair.first),
        "structural_second": losses.structural(second, pair.second),
        "squared_first": F.mse_loss(first, pair.first),
        "squared_second": F.mse_loss(second, pair.second),
        "edges_first": losses.edges(first, pair.first),
        "background": F.l1_loss(one.background, two.background).tanh(),
        "detail": 1 - F.l1_loss(one.detail, two.detail).tanh(),
    }


PRESETS = {
    "released": DIDFuseRecipe(
        sampling="random",
        min_contrast=0,
        batch=24,
        epochs=(120,),
        learning_rate=1e-3,
        halve_every=40,
        decay=0.1,
        clip=0,
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
        floor=1e-5,
        clip=0,
    ),
}
