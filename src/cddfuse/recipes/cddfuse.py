"""CDDFuse: learn to take images apart and put them together, then learn to fuse them.

Paper: Zhao et al., CVPR 2023, section 3.3 and 4.1. The presets: `released` is what the authors'
programs do, `paper` what their text says, `quick` what two CPU cores can do in under an hour.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal, cast

import torch.nn.functional as F
from torch import Tensor

from cddfuse import losses
from cddfuse.errors import InputError
from cddfuse.models.base import FusionModel
from cddfuse.models.cddfuse import Branch, CDDFuse, Features
from cddfuse.pair import ImagePair
from cddfuse.recipes.base import Recipe, Stage


@dataclass(frozen=True)
class CDDFuseRecipe(Recipe):
    """Settings of CDDFuse.

    Loss weights of 0, `base`, `detail` and `single_stage` are the ablations of the paper.
    """

    structural: float = 5.0
    """Weight of (1 - SSIM) / 2 of both reconstructions, stage one."""

    squared: float = 1.0
    """Weight of the squared error of both reconstructions, stage one."""

    edges: float = 5.0
    """Weight of the gradient error of the first image's reconstruction, stage one."""

    decomposition: float = 2.0
    """Weight of the decomposition loss, both stages."""

    common: float = 0.0
    """Reward of the correlation of the base features, both stages; no paper has it. The
    decomposition loss, a ratio, hardly asks for it once the detail features do not correlate."""

    intensity: float = 1.0
    """Weight of the intensity loss, stage two."""

    gradient: float = 10.0
    """Weight of the gradient loss, stage two."""

    brightness: float = 0.0
    """Weight of the squared intensity loss, stage two; no paper has it."""

    directed: float = 0.0
    """Weight of a gradient loss that minds directions too, stage two; no paper has it."""

    contours: float = 0.0
    """Weight of a gradient loss in which strong edges count most, stage two; no paper has it."""

    sharpness: float = 1.0
    """Factor of the sources' gradients that the gradient losses of stage two ask for; no paper has
    another one."""

    likeness: float = 0.0
    """Weight of what is missing in SSIM with both sources, stage two; no paper has it."""

    fidelity: float = 0.0
    """Weight of what is missing in VIF with both sources, stage two; no paper has it."""

    preservation: float = 0.0
    """Weight of what is missing in Qabf, stage two; no paper has it."""

    information: float = 0.0
    """Weight of what is missing in MI with both sources, stage two; no paper has it."""

    bins: int = 64
    """Levels of the histograms of `information`: few for noisy images, up to 256."""

    difference: float = 0.0
    """Weight of what is missing in SCD, stage two; no paper has it."""

    residual: Literal["first", "sum", "none"] = "first"
    """What the decoder's output is added to: first for infrared + visible, none for medical."""

    base: Branch = "transformer"
    """What the base branches are made of."""

    detail: Branch = "invertible"
    """What the detail branches are made of."""

    single_stage: bool = False
    """Leave out stage one; stage two gets its epochs."""

    freeze_encoder: bool = False
    """Stage two leaves the encoder as it is: steps are twice as fast, features stay the same."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.epochs) != 2:
            raise InputError(f"epochs is {self.epochs}: CDDFuse has two stages, so two are needed.")
        if self.sharpness <= 0:
            raise InputError(f"sharpness is {self.sharpness}: it is a factor, above 0.")
        if not 2 <= self.bins <= 256:
            raise InputError(f"bins is {self.bins}: give 2 to 256.")

    def create_model(self) -> CDDFuse:
        """The network, untrained."""
        return CDDFuse(residual=self.residual, base=self.base, detail=self.detail)

    def stages(self) -> tuple[Stage, ...]:
        """Separate (encoder and decoder), then fuse (everything, or all but the encoder)."""
        both = ("encoder", "decoder")
        separate = {
            "structural_first": self.structural,
            "structural_second": self.structural,
            "squared_first": self.squared,
            "squared_second": self.squared,
            "edges_first": self.edges,
            "decomposition": self.decomposition,
            "correlation_base": -self.common,
        }
        fuse = {
            "intensity": self.intensity,
            "brightness": self.brightness,
            "gradient": self.gradient,
            "directed": self.directed,
            "contours": self.contours,
            "likeness": self.likeness,
            "fidelity": self.fidelity,
            "preservation": self.preservation,
            "information": self.information,
            "difference": self.difference,
            "decomposition": self.decomposition,
            "correlation_base": -self.common,
        }
        rest = ("decoder", "base_fusion", "detail_fusion")
        learn = rest if self.freeze_encoder else ("encoder", *rest)
        separate, fuse = ({k: w for k, w in terms.items() if w} for terms in (separate, fuse))
        terms = partial(fusion, sharpness=self.sharpness, bins=self.bins)
        if self.single_stage:
            return (Stage("fuse", sum(self.epochs), learn, terms, fuse),)
        return (
            Stage("separate", self.epochs[0], both, reconstruction, separate),
            Stage("fuse", self.epochs[1], learn, terms, fuse),
        )


def reconstruction(model: FusionModel, pair: ImagePair) -> dict[str, Tensor]:
    """Terms of stage one: each source must be rebuilt from its own features."""
    model = cast(CDDFuse, model)
    first, second = model.encode(pair.first, pair.second)
    one, two = model.reconstruct_both(first, second, pair.first, pair.second)
    return {
        "structural_first": losses.structural(one, pair.first),
        "structural_second": losses.structural(two, pair.second),
        "squared_first": F.mse_loss(one, pair.first),
        "squared_second": F.mse_loss(two, pair.second),
        "edges_first": losses.edges(one, pair.first),
        **_decomposition(first, second),
    }


def fusion(model: FusionModel, pair: ImagePair, sharpness: float, bins: int) -> dict[str, Tensor]:
    """Terms of stage two: the fused image must be bright and sharp where either source is."""
    model = cast(CDDFuse, model)
    features = model.decompose(pair.first, pair.second)
    fused = model.decoder(features.fused, model.residual_image(pair.first, pair.second))
    return {
        "intensity": losses.intensity(fused, pair.first, pair.second),
        "brightness": losses.brightness(fused, pair.first, pair.second),
        "gradient": losses.gradient(fused, pair.first, pair.second, sharpness),
        "directed": losses.directed(fused, pair.first, pair.second, sharpness),
        "contours": losses.contours(fused, pair.first, pair.second, sharpness),
        "likeness": losses.likeness(fused, pair.first, pair.second),
        "fidelity": losses.fidelity(fused, pair.first, pair.second),
        "preservation": losses.preservation(fused, pair.first, pair.second),
        "information": losses.information(fused, pair.first, pair.second, bins),
        "difference": losses.difference(fused, pair.first, pair.second),
        **_decomposition(features.first, features.second),
    }


def _decomposition(first: Features, second: Features) -> dict[str, Tensor]:
    base = losses.correlation(first.base, second.base)
    detail = losses.correlation(first.detail, second.detail)
    return {
        "decomposition": losses.decomposition(base, detail),
        "correlation_base": base,
        "correlation_detail": detail,
    }


PRESETS = {
    "released": CDDFuseRecipe(),
    # The text has no edge term, a batch of 16, and 1 - SSIM where the programs halve it.
    "paper": CDDFuseRecipe(batch=16, structural=10.0, edges=0.0),
    "quick": CDDFuseRecipe(
        crop=48,
        sampling="random",
        flips=True,
        batch=6,
        epochs=(1, 3),
        minutes=50,
        learning_rate=5e-4,
        warmup=50,
        schedule="cosine",
        floor=1.5e-5,
    ),
}
