"""EMFusion: like both sources, and like each in the features that the other one does not have.

Paper: Xu and Ma, Information Fusion 2021. Translators learn to make one modality of the other,
auto-encoders to see each modality, and the fused image must agree with a source in the features
that differ most between it and its translation. Other than in the authors' program:

- Slips are put right: both terms of a translator compare with the same image, all features are
  compared by squares, the entropy of an image is its own.
- The features that differ most are found in every batch, where the program takes them once from
  the test images; an auto-encoder sees real and translated images in every step, not in turn.
- All stages have the crop and the batch of the first, those of the last stage are smaller there.
- Colour (PET, SPECT) is not treated, as those programs are not public.

The preset `quick` starts from PyTorch's initial values and learns twice as fast: translators that
start as the authors' do have hardly begun after a hundred steps.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cddfuse import losses
from cddfuse.errors import InputError
from cddfuse.models.base import FusionModel
from cddfuse.models.emfusion import AutoEncoder, EMFusion
from cddfuse.pair import ImagePair
from cddfuse.recipes.base import Recipe, Stage, Term, frozen, setting, truncated_normal

_UNIQUE = 10  # features that are compared, of 128
_BRIGHT = 0.85


@dataclass(frozen=True)
class EMFusionRecipe(Recipe):
    """Settings of EMFusion."""

    network = EMFusion

    ssim: float = 1.0
    """Weight of 1 - SSIM, all stages."""

    mse: float = 40.0
    """Weight of the squared error of translators and auto-encoders."""

    fused_mse: float = 10.0
    """Weight of the squared error of the fused image."""

    unique: float = 0.5
    """Weight of the features that are a modality's own, for each modality."""

    sigma: float = setting(0.05, "Network")
    """Standard deviation of the initial kernels, a truncated normal; 0 takes PyTorch's own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.epochs) != 3:
            raise InputError(
                f"epochs is {self.epochs}: EMFusion has three stages.", setting="epochs"
            )

    def create_model(self) -> FusionModel:
        """The network, untrained."""
        model = super().create_model()
        truncated_normal(model, self.sigma)
        return model

    def prepare(self, model: FusionModel) -> None:
        """Add translators to each modality, and the auto-encoders that see each."""
        for name in ("to_first", "to_second"):
            model.add_helper(name, AutoEncoder(96, 0.1))
        for name in ("sees_first", "sees_second"):
            model.add_helper(name, AutoEncoder())
        for name in ("to_first", "to_second", "sees_first", "sees_second"):
            truncated_normal(model.get_submodule(name), self.sigma)

    def stages(self) -> tuple[Stage, ...]:
        """Translate, see, fuse."""
        rebuild = {"ssim": self.ssim, "mse": self.mse}
        fuse = {
            "ssim": self.ssim,
            "mse": self.fused_mse,
            "unique_first": self.unique,
            "unique_second": self.unique,
        }
        one, two, three = self.epochs
        return (
            Stage("translate", one, ("to_first", "to_second"), translation, rebuild, lr_gamma=0.8),
            Stage("see", two, ("sees_first", "sees_second"), sight, rebuild, lr_gamma=0.85),
            Stage("fuse", three, ("encoder", "decoder"), fusion, fuse, lr_factor=0.5, lr_gamma=0.7),
        )


def translation(model: FusionModel, pair: ImagePair) -> dict[str, Term]:
    """Terms of stage one: each source made of the other."""
    first = model.get_submodule("to_first")(pair.second)
    second = model.get_submodule("to_second")(pair.first)
    return _rebuilt((first, pair.first), (second, pair.second))


def sight(model: FusionModel, pair: ImagePair) -> dict[str, Term]:
    """Terms of stage two: each auto-encoder rebuilds a modality, real and translated."""
    first = torch.cat([pair.first, frozen(model.get_submodule("to_first"), pair.second)])
    second = torch.cat([pair.second, frozen(model.get_submodule("to_second"), pair.first)])
    return _rebuilt(
        (model.get_submodule("sees_first")(first), first),
        (model.get_submodule("sees_second")(second), second),
    )


def fusion(model: FusionModel, pair: ImagePair) -> dict[str, Term]:
    """Terms of stage three."""
    sources = (pair.first, pair.second)
    fused = model(*sources)
    shares = torch.stack([richness(source) for source in sources], dim=1).div(0.5).softmax(1)

    def ssim() -> Tensor:
        unlike = [1 - losses.valid_ssim(source, fused) for source in sources]
        return (shares * torch.stack(unlike, dim=1)).sum(1).mean()

    def mse() -> Tensor:
        far = [(source - fused).square().mean((1, 2, 3)) for source in sources]
        return (shares * torch.stack(far, dim=1)).sum(1).mean()

    return {
        "ssim": ssim,
        "mse": mse,
        "unique_first": lambda: _unique(model, "first", fused, pair.first, pair.second),
        "unique_second": lambda: _unique(model, "second", fused, pair.second, pair.first),
    }


def richness(image: Tensor) -> Tensor:
    """Entropy in bits plus three times the sum of bright pixels per area, (B, 1, H, W) to (B,)."""
    levels = (image.clamp(0, 1) * 255).round().long().flatten(1)
    counts = torch.zeros(len(levels), 256, device=image.device)
    counts.scatter_add_(1, levels, torch.ones(levels.shape, device=image.device))
    shares = counts / levels.shape[1]
    entropy = -torch.xlogy(shares, shares).sum(1) / torch.log(torch.tensor(2.0))
    return entropy + 3 * (image * (image > _BRIGHT)).mean((1, 2, 3))


def _rebuilt(*images: tuple[Tensor, Tensor]) -> dict[str, Term]:
    """Sums over images and their references."""

    def ssim() -> Tensor:
        unlike = [1 - losses.valid_ssim(image, reference).mean() for image, reference in images]
        return torch.stack(unlike).sum()

    def mse() -> Tensor:
        return torch.stack([F.mse_loss(image, reference) for image, reference in images]).sum()

    return {"ssim": ssim, "mse": mse}


def _unique(model: FusionModel, which: str, fused: Tensor, image: Tensor, other: Tensor) -> Tensor:
    """Difference of the fused image to a source, in the features that the other does not have."""
    encoder = model.get_submodule(f"sees_{which}.encoder")
    with torch.no_grad():
        own = encoder(image)
        translated = encoder(model.get_submodule(f"to_{which}")(other))
        chosen = (own - translated).abs().mean((0, 2, 3)).topk(_UNIQUE).indices
    return F.mse_loss(frozen(encoder, fused)[:, chosen], own[:, chosen])


PRESETS = {
    "released": EMFusionRecipe(
        crop=114,
        stride=57,
        min_contrast=0,
        batch=16,
        epochs=(8, 10, 4),
        learning_rate=1e-3,
        schedule="exponential",
        clip_norm=0,
    ),
    "quick": EMFusionRecipe(
        crop=64,
        sampling="random",
        flips=True,
        batch=6,
        epochs=(1, 1, 1),
        minutes=20,
        learning_rate=2e-3,
        warmup=5,
        schedule="cosine",
        min_lr=1e-5,
        clip_norm=1.0,
        sigma=0,
    ),
}
