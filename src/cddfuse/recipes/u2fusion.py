"""U2Fusion: be like both sources, more like the one that holds more information.

Paper: Xu et al., TPAMI 2022, with the losses of the authors' program. How much a source holds is
measured there on features of a VGG-16 trained on ImageNet. Such weights cannot be had offline, so
here the same measure is taken on five scales of the source itself, and its constant c chosen for
that. Of the released training, these are kept: one pair of weights per batch in the squared error
(a slip that became the result), sources swapped at random, no elastic weight consolidation
(its factor is 0 there), one task.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cddfuse import losses
from cddfuse.filters import convolve
from cddfuse.models.base import FusionModel
from cddfuse.models.u2fusion import U2Fusion
from cddfuse.pair import ImagePair
from cddfuse.recipes.base import Recipe, Stage, Term, batch_generator, setting, truncated_normal

_SCALES = 5


@dataclass(frozen=True)
class U2FusionRecipe(Recipe):
    """Settings of U2Fusion."""

    network = U2Fusion

    ssim: float = 1.0
    """Weight of 1 - SSIM to both sources."""

    mse: float = 20.0
    """Weight of the squared error to both sources."""

    contrast: float = 1e-3
    """The constant c: how large a difference of information is much. Small: the richer source
    takes all; large: both count alike."""

    sigma: float = setting(0.05, "Network")
    """Standard deviation of the initial kernels, a truncated normal; 0 takes PyTorch's own."""

    def create_model(self) -> FusionModel:
        """The network, untrained."""
        model = super().create_model()
        truncated_normal(model, self.sigma)
        return model

    def stages(self) -> tuple[Stage, ...]:
        """One."""

        def terms(model: FusionModel, pair: ImagePair) -> dict[str, Term]:
            return similar(model, pair, self.contrast)

        weights = {"ssim": self.ssim, "mse": self.mse}
        return (Stage("fuse", sum(self.epochs), ("encoder", "decoder"), terms, weights),)


def similar(model: FusionModel, pair: ImagePair, contrast: float) -> dict[str, Term]:
    """Terms of the one stage."""
    first, second = pair.first, pair.second
    if model.training and torch.rand((), generator=batch_generator(pair)) < 0.5:
        first, second = second, first
    fused = model(first, second)
    measures = torch.stack([information(first), information(second)], dim=1)
    shares = (measures / contrast).softmax(1)

    def ssim() -> Tensor:
        found = torch.stack([losses.valid_ssim(x, fused) for x in (first, second)], dim=1)
        return (shares * (1 - found)).sum(1).mean()

    def mse() -> Tensor:
        errors = torch.stack([F.mse_loss(fused, x) for x in (first, second)])
        return (shares.mean(0) * errors).sum()

    return {"ssim": ssim, "mse": mse}


def information(image: Tensor) -> Tensor:
    """Mean squared Laplacian over the scales of an image, (B, 1, H, W) to (B,)."""
    kernel = torch.full((1, 1, 3, 3), 1 / 8, dtype=image.dtype, device=image.device)
    kernel[..., 1, 1] = -1
    found = []
    for _ in range(_SCALES):
        found.append(convolve(image, kernel, padding=1).square().mean((1, 2, 3)))
        if min(image.shape[-2:]) < 4:
            break
        image = F.avg_pool2d(image, 2)
    return torch.stack(found).mean(0)


_RELEASED = U2FusionRecipe(
    crop=64,
    stride=64,
    min_contrast=0,
    batch=18,
    epochs=(3,),
    optimizer="rmsprop",
    rmsprop_alpha=0.6,
    momentum=0.15,
    schedule="constant",
    clip_norm=0,
)
PRESETS = {
    "released": _RELEASED,
    "quick": U2FusionRecipe(
        crop=64,
        sampling="random",
        flips=True,
        batch=4,
        epochs=(1,),
        minutes=20,
        learning_rate=5e-4,
        warmup=20,
        schedule="cosine",
        min_lr=1e-5,
        clip_norm=1.0,
    ),
}
