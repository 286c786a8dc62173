"""SDNet: the fused image must be as bright and as sharp as the sources, and lead back to them.

Paper: Zhang and Ma, IJCV 2021, with the losses of the authors' program, on images in [-1, 1]. Other
than there, crops are shuffled; the preset `quick` starts from PyTorch's initial values, because
from those of the program (a sigma of 0.001) nothing is learned within minutes.
"""

from dataclasses import dataclass, replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from cddfuse.filters import convolve
from cddfuse.models.base import FusionModel
from cddfuse.models.sdnet import Leading, SDNet
from cddfuse.pair import ImagePair
from cddfuse.recipes.base import Recipe, Stage, Term, setting, truncated_normal

_LAPLACIAN = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))
_LOW_PASS = ((0.0947, 0.1183, 0.0947), (0.1183, 0.1478, 0.1183), (0.0947, 0.1183, 0.0947))


@dataclass(frozen=True)
class SDNetRecipe(Recipe):
    """Settings of SDNet."""

    network = SDNet

    leading: Leading = "second"
    """Image that leads: second (infrared) for infrared and visible, first (PET, SPECT) medical."""

    balance: float = 0.5
    """Weight of the other image's intensity, that of the leading one being 1."""

    gradient: float = 80.0
    """Weight of the gradient loss."""

    decomposition: float = 1.0
    """Weight of the decomposition loss."""

    sigma: float = setting(1e-3, "Network")
    """Standard deviation of the initial kernels, a truncated normal; 0 takes PyTorch's own."""

    def create_model(self) -> FusionModel:
        """The network, untrained."""
        model = super().create_model()
        truncated_normal(model, self.sigma)
        return model

    def stages(self) -> tuple[Stage, ...]:
        """One."""
        weights = {
            "intensity_leading": 1.0,
            "intensity_following": self.balance,
            "gradient": self.gradient,
            "decomposition": self.decomposition,
        }
        parts = ("leading", "following", "squeeze", "decomposition")
        return (Stage("squeeze", sum(self.epochs), parts, squeeze, weights),)


def squeeze(model: FusionModel, pair: ImagePair) -> dict[str, Term]:
    """Terms of the one stage."""
    model = cast(SDNet, model)
    leading, following = model.ordered(pair.first, pair.second)
    fused = model.squeezed(leading, following)
    again = model.decomposition(fused)
    return {
        "intensity_leading": lambda: F.mse_loss(fused, leading),
        "intensity_following": lambda: F.mse_loss(fused, following),
        "gradient": lambda: gradient(fused, leading, following),
        "decomposition": lambda: F.mse_loss(again[0], leading) + F.mse_loss(again[1], following),
    }


def gradient(fused: Tensor, leading: Tensor, following: Tensor) -> Tensor:
    """Squared difference to the Laplacian of the source that is sharper there, blurred a little."""
    sharpness = [_filtered(_filtered(x, _LOW_PASS), _LAPLACIAN).abs() for x in (leading, following)]
    edges = [_filtered(x, _LAPLACIAN) for x in (leading, following)]
    wanted = torch.where(sharpness[1] > sharpness[0], edges[1], edges[0])
    return F.mse_loss(_filtered(fused, _LAPLACIAN), wanted)


def _filtered(image: Tensor, kernel: tuple[tuple[float, ...], ...]) -> Tensor:
    """A 3x3 filter with zeros around the image."""
    weight = torch.tensor(kernel, dtype=image.dtype, device=image.device)
    return convolve(image, weight[None, None], padding=1)


_RELEASED = SDNetRecipe(
    crop=120, stride=10, min_contrast=0, batch=32, epochs=(15,), schedule="constant", clip_norm=0
)
_QUICK = SDNetRecipe(
    crop=64,
    sampling="random",
    flips=True,
    epochs=(1,),
    minutes=20,
    learning_rate=1e-3,
    warmup=20,
    schedule="cosine",
    min_lr=1e-5,
    clip_norm=1.0,
    sigma=0,
)
PRESETS = {
    "released": _RELEASED,
    "mif": replace(_RELEASED, epochs=(30,), gradient=10, leading="first"),
    "quick": _QUICK,
    "quick-mif": replace(_QUICK, gradient=10, leading="first"),
}
