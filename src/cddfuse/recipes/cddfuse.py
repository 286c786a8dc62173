"""CDDFuse: learn to decompose and reconstruct images, then learn to fuse them.

Paper: Zhao et al., CVPR 2023, section 3.3 and 4.1. The presets: `released` is what the authors'
programs do, `paper` what their text says, `quick` what two CPU cores can do in under an hour.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, Literal, cast

from cddfuse import losses
from cddfuse.errors import InputError
from cddfuse.losses import LOSSES
from cddfuse.models.base import FusionModel
from cddfuse.models.cddfuse import Branch, CDDFuse, Features
from cddfuse.pair import ImagePair
from cddfuse.recipes.base import Once, Recipe, Stage, Term, Terms, setting

_RECONSTRUCTED: Mapping[str, tuple[str, ...]] = {
    "reconstruction_ssim": ("first", "second"),
    "reconstruction_mse": ("first", "second"),
    "reconstruction_gradient": ("first",),
}
_WATCHED = ("correlation_base", "correlation_detail")


@dataclass(frozen=True)
class CDDFuseRecipe(Recipe):
    """Settings of CDDFuse.

    Loss weights of 0, `base`, `detail` and `single_stage` are the ablations of the paper.
    """

    network = CDDFuse

    reconstruction_ssim: float = 5.0
    """Weight of (1 - SSIM) / 2 of both reconstructions, stage one."""

    reconstruction_mse: float = 1.0
    """Weight of the squared error of both reconstructions, stage one."""

    reconstruction_gradient: float = 5.0
    """Weight of the gradient error of the first image's reconstruction, stage one."""

    decomposition: float = 2.0
    """Weight of the decomposition loss, both stages."""

    intensity: float = 1.0
    """Weight of the intensity loss, stage two."""

    gradient: float = 10.0
    """Weight of the gradient loss, stage two."""

    loss: Mapping[str, float] = field(default_factory=dict, metadata={"group": "Loss"})
    """Weights of more terms, none of them in the paper, such as ssim=9 vif=2."""

    gradient_gain: float = setting(1.0, above=0)
    """Factor of the sources' gradients in the target of the gradient losses of stage two."""

    mi_bins: int = setting(64, least=2, most=256)
    """Histogram bins of the loss mi: few for noisy images, up to 256."""

    target_source: Literal["first", "second"] = setting("second")
    """Which image shows the targets of the loss target_contrast: second, infrared; first, PET and
    SPECT."""

    target_gain: float = setting(1.0, above=0)
    """Factor of the source's contrast that the loss target_contrast asks for."""

    target_prominence: float = 0.0
    """Standard deviations above the image's mean from which pixels count as targets."""

    residual: Literal["first", "sum", "none"] = "first"
    """What the decoder's output is added to: first for infrared + visible, none for medical."""

    base: Branch = "transformer"
    """Blocks of the base branches."""

    detail: Branch = "invertible"
    """Blocks of the detail branches."""

    single_stage: bool = setting(False, "Recipe")
    """Leave out stage one; stage two gets its epochs."""

    freeze_encoder: bool = setting(False, "Recipe")
    """Stage two leaves the encoder as it is: steps are twice as fast, features stay the same."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.epochs) != 2:
            raise InputError(
                f"epochs is {self.epochs}: CDDFuse has two stages, so two are needed.",
                setting="epochs",
            )
        self._check_loss()

    def _check_loss(self) -> None:
        own = {each.name for each in fields(self)}
        known = [name for name in LOSSES if name not in own]
        for name, weight in self.loss.items():
            if name in own and name in LOSSES:
                raise InputError(f"the weight of {name} is a setting of its own.", setting=name)
            if name not in known:
                raise InputError(
                    f"there is no loss {name}: known are {', '.join(known)}.", setting="loss"
                )
            if not 0 <= weight < math.inf:
                raise InputError(
                    f"the weight of {name} is {weight}: it must be at least 0 and finite.",
                    setting="loss",
                )

    def stages(self) -> tuple[Stage, ...]:
        """Separate (encoder and decoder), then fuse (everything, or all but the encoder)."""
        both = ("encoder", "decoder")
        rest = ("decoder", "base_fusion", "detail_fusion")
        learn = rest if self.freeze_encoder else ("encoder", *rest)
        separate, fuse = self._weights("separate"), self._weights("fuse")
        watched = _WATCHED if self.decomposition else ()
        if self.single_stage:
            return (Stage("fuse", sum(self.epochs), learn, self._fusion(), fuse, watched),)
        return (
            Stage("separate", self.epochs[0], both, reconstruction, separate, watched),
            Stage("fuse", self.epochs[1], learn, self._fusion(), fuse, watched),
        )

    def _fusion(self) -> Terms:
        taken = {name for row in LOSSES.values() for name in row.settings}
        return partial(fusion, settings={name: getattr(self, name) for name in taken})

    def _weights(self, stage: str) -> dict[str, float]:
        """Weight of each term of a stage, in the order of the index."""
        given = {**self.loss, **vars(self)}
        weights: dict[str, float] = {}
        for name, row in LOSSES.items():
            if row.stage in (stage, "both"):
                weights |= dict.fromkeys(_terms(name), given.get(name, 0.0))
        return weights


def _terms(name: str) -> list[str]:
    """Terms that have the weight of a row of the index."""
    sides = _RECONSTRUCTED.get(name)
    return [f"{name}_{side}" for side in sides] if sides else [name]


def reconstruction(model: FusionModel, pair: ImagePair) -> dict[str, Term]:
    """Terms of stage one: each source must be rebuilt from its own features."""
    model = cast(CDDFuse, model)
    first, second = model.encode(pair.first, pair.second)
    one, two = model.reconstruct_both(first, second, pair.first, pair.second)
    images = {"first": (one, pair.first), "second": (two, pair.second)}
    terms: dict[str, Term] = {
        f"{name}_{side}": partial(LOSSES[name].function, *images[side])
        for name, sides in _RECONSTRUCTED.items()
        for side in sides
    }
    return {**terms, **_decomposition(first, second)}


def fusion(model: FusionModel, pair: ImagePair, settings: Mapping[str, Any]) -> dict[str, Term]:
    """Terms of stage two: the fused image must be bright and sharp where either source is."""
    model = cast(CDDFuse, model)
    features = model.decompose(pair.first, pair.second)
    fused = model.decoder(features.fused, model.residual_image(pair.first, pair.second))
    terms: dict[str, Term] = {}
    for name, row in LOSSES.items():
        if row.stage == "fuse":
            taken = {key: settings[key] for key in row.settings}
            terms[name] = partial(row.function, fused, pair.first, pair.second, **taken)
    return {**terms, **_decomposition(features.first, features.second)}


def _decomposition(first: Features, second: Features) -> dict[str, Term]:
    base = Once(partial(losses.correlation, first.base, second.base))
    detail = Once(partial(losses.correlation, first.detail, second.detail))
    return {
        "decomposition": lambda: losses.decomposition(base(), detail()),
        "base_correlation": lambda: losses.base_correlation(base(), detail()),
        "correlation_base": base,
        "correlation_detail": detail,
    }


PRESETS = {
    "released": CDDFuseRecipe(),
    # The text has no edge term, a batch of 16, and 1 - SSIM where the programs halve it.
    "paper": CDDFuseRecipe(batch=16, reconstruction_ssim=10.0, reconstruction_gradient=0.0),
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
        min_lr=1.5e-5,
    ),
}
