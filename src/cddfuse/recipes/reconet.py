"""ReCoNet: structure and intensity of both sources, more of each where it stands out.

Paper: Huang et al., ECCV 2022. How the first release (v0, whose graph this is) was trained is not
published; the loss is that of the second one, which leaves its factors to the user: here structure
counts 1 and intensity 10, and the weights per pixel come from visual saliency, where the authors
read prepared images. There is no registration to train with, and the learning rate follows a cosine
where theirs falls when the loss does not.

The preset `quick` departs in two more ways, without which its pictures are striped. The last norm
starts with the contrast and level of an image: as PyTorch makes it, every turn drives the tanh into
its ends. And in the second half norms use the running statistics, as they do when fusing: all turns
share them, and what is learned with the statistics of each turn alone does not fit them.
"""

from dataclasses import dataclass
from typing import cast

from torch import nn

from cddfuse.models.base import FusionModel
from cddfuse.models.reconet import ReCoNet
from cddfuse.pair import ImagePair
from cddfuse.recipes.base import Recipe, Stage, Term, saliency_weighted, setting


@dataclass(frozen=True)
class ReCoNetRecipe(Recipe):
    """Settings of ReCoNet: the weights of its terms."""

    network = ReCoNet

    ssim: float = 1.0
    """Weight of (1 - SSIM) / 2 to both sources."""

    intensity: float = 10.0
    """Weight of the absolute difference to both sources."""

    contrast: float = setting(1.0, "Network")
    """Initial factor of the last norm, before the tanh; PyTorch's own is 1."""

    level: float = setting(0.0, "Network")
    """Initial offset of the last norm; PyTorch's own is 0."""

    settled: float = setting(0.0, "Recipe", below=1)
    """Share of the training, at its end, in which norms use the running statistics."""

    def create_model(self) -> FusionModel:
        """The network, untrained."""
        model = cast(ReCoNet, super().create_model())
        norm = cast(nn.BatchNorm2d, model.merge[1])
        nn.init.constant_(norm.weight, self.contrast)
        nn.init.constant_(norm.bias, self.level)
        return model

    def stages(self) -> tuple[Stage, ...]:
        """One; or two, the second with norms that have settled."""
        parts = ("attention_first", "attention_second", "spread", "merge")
        weights = {"ssim": self.ssim, "intensity": self.intensity}
        epochs = sum(self.epochs)

        def settled(model: FusionModel, pair: ImagePair) -> dict[str, Term]:
            return fusion(model, pair, settled=True)

        fuse = Stage("fuse", epochs * (1 - self.settled), parts, fusion, weights)
        settle = Stage("settle", epochs * self.settled, parts, settled, weights)
        return (fuse, settle) if self.settled else (fuse,)


def fusion(model: FusionModel, pair: ImagePair, *, settled: bool = False) -> dict[str, Term]:
    """Terms of every stage. Norms that have settled use their running statistics and keep them."""
    model = cast(ReCoNet, model)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.train(model.training and not settled)
    fused = model.recurrences(pair.first, pair.second)[-1].fused
    return saliency_weighted(fused, pair)


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
        clip_norm=0,
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
        min_lr=1e-5,
        clip_norm=1.0,
        contrast=0.2,
        level=0.45,
        settled=0.5,
    ),
}
