"""ReCoNet: structure and intensity of both sources, more of each where it stands out.

Paper: Huang et al., ECCV 2022. How the first release (v0, whose graph this is) was trained is not
published; the loss is that of the second one, which leaves its factors to the user: here structure
counts 1 and intensity 10, and the weights per pixel come from visual saliency, where the authors
read prepared images. There is no registration to train with, and the learning rate follows a cosine
where theirs falls when the loss does not.
"""

from dataclasses import dataclass
from typing import cast

from torch import Tensor

from cddfuse import losses
from cddfuse.models.base import FusionModel
from cddfuse.models.reconet import ReCoNet
from cddfuse.pair import ImagePair
from cddfuse.recipes.base import Recipe, Stage


@dataclass(frozen=True)
class ReCoNetRecipe(Recipe):
    """Settings of ReCoNet: the weights of its terms."""

    structural: float = 1.0
    """Weight of (1 - SSIM) / 2 to both sources."""

    intensity: float = 10.0
    """Weight of the absolute difference to both sources."""

    def create_model(self) -> ReCoNet:
        """The network, untrained."""
        return ReCoNet()

    def stages(self) -> tuple[Stage, ...]:
        """One."""
        parts = ("attention_first", "attention_second", "spread", "merge")
        weights = {"structural": self.structural, "intensity": self.intensity}
        return (Stage("fuse", sum(self.epochs), parts, fusion, weights),)


def fusion(model: FusionModel, pair: ImagePair) -> dict[str, Tensor]:
    """Terms of the one stage."""
    model = cast(ReCoNet, model)
    fused = model.recurrences(pair.first, pair.second)[-1].fused
    return losses.salient(fused, pair.first, pair.second)


PRESETS = {
    "released": ReCoNetRecipe(
        crop=320,
        sampling="random",
        min_contrast=0,
        batch=32,
        epochs=(800,),
        optimizer="adamw",
        learning_rate=1e-3,
        schedule="cosine",
        clip=0,
    ),
    "quick": ReCoNetRecipe(
        crop=64,
        sampling="random",
        flips=True,
        epochs=(1,),
        minutes=15,
        optimizer="adamw",
        learning_rate=2e-3,
        warmup=20,
        schedule="cosine",
        floor=1e-5,
        clip=0,
    ),
}
