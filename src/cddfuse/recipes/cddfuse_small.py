"""CDDFuseSmall: learn to give the picture that a trained network gives.

Distillation: any network of the zoo is the teacher. Its image of each crop is computed once and
kept, so crops recur after some epochs. Losses are differences to the teacher's image and to its
gradients; that for targets of the sources is optional.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from cddfuse import losses
from cddfuse.errors import InputError
from cddfuse.losses_target import target_contrast
from cddfuse.models import MODELS, FusionModel
from cddfuse.models.cddfuse_small import CDDFuseSmall
from cddfuse.models.load import load_network
from cddfuse.models.weights import located
from cddfuse.pair import ImagePair
from cddfuse.recipes.base import Recipe, Stage, Term, setting
from cddfuse.recipes.teacher import Teacher


@dataclass(frozen=True)
class CDDFuseSmallRecipe(Recipe):
    """Settings of the distillation."""

    network = CDDFuseSmall

    teacher: str = "cddfuse"
    """Network whose images are learned; any of the zoo with weights."""

    teacher_task: Literal["ivf", "mif"] = "ivf"
    """Which of the teacher's weights, if none are named."""

    teacher_weights: str = ""
    """Weights of the teacher: a name or a file; empty for those of its task."""

    image: float = 1.0
    """Weight of the mean absolute difference to the teacher's image."""

    square: float = 0.0
    """Weight of the mean squared difference to it: large ones count more."""

    gradient: float = 1.0
    """Weight of the mean absolute difference of neighbours' differences."""

    ssim: float = 0.1
    """Weight of 1 - SSIM with the teacher's image."""

    target_contrast: float = 0.0
    """Weight of the contrast of targets that is lost, compared with the source (see the loss of
    that name)."""

    target_source: Literal["first", "second"] = setting("second")
    """Which image shows the targets."""

    width: int = setting(16, "Network", least=1)
    """Channels at half resolution."""

    depth: int = setting(4, "Network", least=1)
    """Residual blocks at half resolution."""

    context_width: int = setting(24, "Network", least=1)
    """Channels at an eighth of the resolution."""

    context_depth: int = setting(3, "Network", least=1)
    """Residual blocks at an eighth of the resolution."""

    scene: int = setting(0, "Network")
    """Numbers that describe the whole pair to each token; 0 is none."""

    tone: int = setting(56, "Network")
    """Hidden numbers of what decides on the tone of the whole image; 0 is no such tone."""

    keep_black: bool = setting(False, "Network")
    """What is black in both images is black in the result."""

    tone_first: float = setting(0.0, "Recipe", below=1)
    """Share of the steps, at first, in which the tone learns alone: that needs many crops, and such
    steps take little time."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.teacher not in MODELS:
            raise InputError(
                f"there is no network {self.teacher}: known are {', '.join(MODELS)}.",
                setting="teacher",
            )
        if self.tone_first and not self.tone:
            raise InputError(
                "tone_first needs a tone: set tone above 0, or tone_first to 0.",
                setting="tone_first",
            )
        weights = located(self.teacher_weights, MODELS[self.teacher])
        object.__setattr__(self, "teacher_weights", weights)  # or resuming would depend on where

    def stages(self) -> tuple[Stage, ...]:
        """The tone alone, if asked for, and all together. Loads the teacher."""
        weights = {
            name: getattr(self, name)
            for name in ("image", "square", "gradient", "ssim", "target_contrast")
        }
        parts = ("lift", "context", "blocks", "project", *(("tone",) if self.tone else ()))
        teacher = self._teacher()
        terms = partial(distil, teach=teacher, source=self.target_source)
        epochs = sum(self.epochs)
        first = self.tone_first * epochs
        distilled = Stage("distil", epochs - first, parts, terms, weights, teacher=teacher.digest)
        if not first:
            return (distilled,)
        alone = partial(terms, learner=attrgetter("tone"))
        return (
            replace(distilled, name="tone", epochs=first, parts=("tone",), terms=alone),
            distilled,
        )

    def _teacher(self) -> Teacher:
        name, weights = self.teacher, self.teacher_weights or None
        try:
            return Teacher(load_network(name, self.teacher_task, weights, device="cpu"))
        except InputError as error:
            text = str(error)
            raise InputError(text, ("teacher", "teacher_task", "teacher_weights")) from error


def distil(
    model: FusionModel,
    pair: ImagePair,
    teach: Callable[[Tensor, Tensor], Tensor],
    source: Literal["first", "second"],
    learner: Callable[[FusionModel], Callable[[Tensor, Tensor], Tensor]] = lambda model: model,
) -> Mapping[str, Term]:
    """Terms of both stages: the difference of the network, or of a part of it, to its teacher."""
    wanted = teach(pair.first, pair.second)
    fused = learner(model)(pair.first, pair.second)
    return {
        "image": lambda: F.l1_loss(fused, wanted),
        "square": lambda: F.mse_loss(fused, wanted),
        "gradient": lambda: differences(fused, wanted),
        "ssim": lambda: 1 - losses.ssim_map(fused, wanted).mean(),
        "target_contrast": lambda: target_contrast(
            fused, pair.first, pair.second, target_source=source
        ),
    }


def differences(fused: Tensor, wanted: Tensor) -> Tensor:
    """Mean absolute error of the differences between neighbours, along both axes."""
    error = fused - wanted
    return error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()


_RELEASED = CDDFuseSmallRecipe(
    square=5.0,
    ssim=0.0,
    crop=256,
    sampling="random",
    cycle=5,
    flips=True,
    min_contrast=0,
    jitter=0.15,
    darken=0.25,
    cameras=0.75,
    batch=2,
    epochs=(1,),
    tone_first=0.7,
    steps=28_000,
    learning_rate=3e-3,
    warmup=100,
    schedule="cosine",
    min_lr=1e-5,
    clip_norm=1.0,
    ema=0.998,
)
PRESETS = {
    "released": _RELEASED,
    "released-mif": replace(
        _RELEASED,
        teacher_task="mif",
        target_source="first",
        square=0.0,
        ssim=0.1,
        sampling="whole",
        cycle=1,
        jitter=0.2,
        darken=0.4,
        cameras=0.0,
        steps=8_000,
        scene=24,
        tone=0,
        tone_first=0,
        keep_black=True,
    ),
    "quick": replace(_RELEASED, crop=128, batch=4, cycle=2, steps=0, minutes=10, tone_first=0.3),
}
