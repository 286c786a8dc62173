"""TarDAL: like both sources where they stand out, and judged by two discriminators.

Paper: Liu et al., CVPR 2022, with the losses of the authors' first program (v0) as its author has
put them right (issue 4: the generator does feel the discriminators; the detail discriminator
compares gradients outside the targets). Other than there:

- Targets and saliency, which the authors prepare beforehand, are found in every crop: a pixel is a
  target where the infrared image is bright and stands out.
- Generator and discriminators step at once, not in turn, and the discriminators see the generator
  in training mode. Chance comes from the batch, so that a resumed run throws the same.
- Discriminators end in a grid of 4 x 4 means, so that images of any size can be judged.
"""

from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from cddfuse import losses
from cddfuse.filters import full
from cddfuse.models.base import FusionModel
from cddfuse.models.tardal import Statistics, TarDAL
from cddfuse.pair import ImagePair
from cddfuse.recipes.base import (
    Recipe,
    Stage,
    Term,
    batch_generator,
    frozen,
    saliency_weighted,
)

_STANDS_OUT = 0.5  # of the saliency, from where on a bright pixel is a target


class Discriminator(nn.Sequential):
    """How real an image is, (B, 1, H, W) to (B, 1)."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for inputs, outputs in ((1, 32), (32, 64), (64, 128)):
            layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.ReLU()]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * 128, 1))

    def forward(self, image: Tensor) -> Tensor:
        """In single precision in a mixed run too: two judgements are subtracted."""
        return full(super().forward(image))  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class TarDALRecipe(Recipe):
    """Settings of TarDAL: the weights of its terms."""

    network = TarDAL

    ssim: float = 1.0
    """Weight of (1 - SSIM) / 2 to both sources."""

    intensity: float = 20.0
    """Weight of the absolute difference to both sources."""

    adversarial: float = 0.1
    """Weight of what each discriminator says of the fused image."""

    penalty: float = 2.0
    """Weight of the divergence penalty of the discriminators (WGAN-div)."""

    statistics: Statistics = "running"
    """Statistics of the norms when fusing: those learned, or the image's own."""

    def prepare(self, model: FusionModel) -> None:
        """Add the discriminators, of targets and of details."""
        model.add_helper("target_critic", Discriminator())
        model.add_helper("detail_critic", Discriminator())

    def stages(self) -> tuple[Stage, ...]:
        """One."""
        weights = {
            "ssim": self.ssim,
            "intensity": self.intensity,
            "target": self.adversarial,
            "detail": self.adversarial,
            "critics": 1.0,
            "penalty": self.penalty,
        }
        parts = ("encoder", "dense", "fuse", "target_critic", "detail_critic")
        return (Stage("adversarial", sum(self.epochs), parts, adversarial, weights),)


def adversarial(model: FusionModel, pair: ImagePair) -> dict[str, Term]:
    """Terms of the one stage."""
    fused = cast(TarDAL, model).generate(pair.first, pair.second)
    targets = target_mask(pair.second)
    detail = gradient(fused * (1 - targets))
    games = (
        (model.get_submodule("target_critic"), pair.second * targets, fused * targets),
        (model.get_submodule("detail_critic"), gradient(pair.first * (1 - targets)), detail),
    )

    def judged(game: int) -> Tensor:
        critic, _, fake = games[game]
        return -frozen(critic, fake).mean()

    def critics() -> Tensor:
        one, two = (
            critic(fake.detach()).mean() - critic(real).mean() for critic, real, fake in games
        )
        return one + two

    def penalty() -> Tensor:
        one, two = (
            divergence(critic, real, fake.detach(), batch_generator(pair))
            for critic, real, fake in games
        )
        return one + two

    return {
        "target": partial(judged, 0),
        "detail": partial(judged, 1),
        "critics": critics,
        "penalty": penalty,
        **saliency_weighted(fused, pair),
    }


def target_mask(infrared: Tensor) -> Tensor:
    """1 where the infrared image is brighter than its mean and stands out, else 0."""
    bright = infrared > infrared.mean((1, 2, 3), keepdim=True)
    return (bright & (losses.saliency(infrared) > _STANDS_OUT)).to(infrared)


def gradient(image: Tensor) -> Tensor:
    """Length of the gradient (central differences), (B, 1, H, W)."""
    padded = nn.functional.pad(image, (1, 1, 1, 1), mode="replicate")
    across = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    return (across**2 + down**2 + 1e-6).sqrt()


@torch.enable_grad()
def divergence(critic: nn.Module, real: Tensor, fake: Tensor, random: torch.Generator) -> Tensor:
    """Mean sixth power of the critic's slope between real and fake images."""
    share = torch.rand(len(real), 1, 1, 1, generator=random).to(real)
    mixed = (share * real + (1 - share) * fake).requires_grad_()
    (slope,) = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)
    return (slope.square().sum((1, 2, 3)) ** 3).mean()


PRESETS = {
    "released": TarDALRecipe(
        crop=224,
        sampling="random",
        min_contrast=0,
        epochs=(200,),
        optimizer="rmsprop",
        schedule="constant",
        clip_norm=0,
    ),
    "quick": TarDALRecipe(
        crop=64,
        sampling="random",
        flips=True,
        epochs=(1,),
        minutes=20,
        optimizer="rmsprop",
        learning_rate=3e-4,
        warmup=20,
        schedule="cosine",
        min_lr=1e-5,
        clip_norm=5.0,
    ),
}
