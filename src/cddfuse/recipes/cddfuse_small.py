"""CDDFuseSmall: learn to give the picture that a trained network gives.

Distillation: any network of the zoo is the teacher. Its image of each crop is computed once and
kept, so crops recur after some epochs. Losses are differences to the teacher's image and to its
gradients; that for targets of the sources is optional. The tone can learn apart from the rest,
from many crops at once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from cddfuse import losses
from cddfuse.errors import InputError
from cddfuse.losses_target import target_contrast
from cddfuse.models import MODELS, FusionModel
from cddfuse.models.cddfuse_small import CDDFuseSmall, Tone
from cddfuse.models.load import load_network
from cddfuse.models.weights import located
from cddfuse.pair import ImagePair
from cddfuse.recipes.base import Recipe, Stage, Term, setting
from cddfuse.recipes.memory import Memory
from cddfuse.recipes.teacher import Teacher

_FLAT = 1e-6  # mean square of what 8 bits round away


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

    contrast: float = 0.0
    """Weight of the mean absolute difference of the logarithms of standard deviation and spatial
    frequency; a student that minimises errors of pixels has too little of both."""

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

    keep_bright: bool = setting(True, "Network")
    """With a tone, what is bright in both images stays bright; not for teachers that darken it."""

    tone_alone: float = 0.0
    """Weight of the root mean squared difference between the tone alone and the teacher's image,
    over remembered crops. The tone then learns from this term only; at 0, with the rest."""

    tone_crops: int = setting(4096, "Recipe", least=1)
    """Crops that are remembered for the tone to learn alone."""

    tone_batch: int = setting(64, "Recipe", least=1)
    """Remembered crops that the tone learns from at each step."""

    tone_noise: float = setting(0.0, "Recipe")
    """Standard deviation of noise added to the statistics that decide on the tone, so that small
    changes of a scene change it little."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.teacher not in MODELS:
            raise InputError(
                f"there is no network {self.teacher}: known are {', '.join(MODELS)}.",
                setting="teacher",
            )
        if self.tone_alone and not self.tone:
            raise InputError(
                "tone_alone needs a tone: set tone above 0, or tone_alone to 0.",
                setting="tone_alone",
            )
        weights = located(self.teacher_weights, MODELS[self.teacher])
        object.__setattr__(self, "teacher_weights", weights)  # or resuming would depend on where

    def prepare(self, model: FusionModel) -> None:
        """Add the memory that a tone needs to learn alone."""
        if self.tone_alone:
            model.add_helper("memory", Memory(_tone(model), self.tone_crops))

    def stages(self) -> tuple[Stage, ...]:
        """One. Loads the teacher."""
        names = ("image", "square", "gradient", "ssim", "contrast", "target_contrast")
        weights = {name: getattr(self, name) for name in names}
        parts = ("embed", "context", "blocks", "project", *(("tone",) if self.tone else ()))
        teacher = self._teacher()
        terms = partial(distil, teach=teacher, source=self.target_source)
        if self.tone_alone:
            weights["tone_alone"] = self.tone_alone
            terms = partial(terms, tone_alone=self._tone_alone)
        return (Stage("distil", sum(self.epochs), parts, terms, weights, teacher=teacher.digest),)

    def _tone_alone(self, model: FusionModel, pair: ImagePair, wanted: Tensor) -> Tensor:
        """Root mean squared error over remembered crops; in validation, over the pair."""
        tone = _tone(model)
        if not model.training:
            return F.mse_loss(tone(pair.first, pair.second), wanted).sqrt()
        memory = model.get_submodule("memory")
        assert isinstance(memory, Memory)
        memory.keep(tone, pair.first, pair.second, wanted)
        return memory.error(tone, self.tone_batch, self.tone_noise)

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
    tone_alone: Callable[[FusionModel, ImagePair, Tensor], Tensor] | None = None,
) -> Mapping[str, Term]:
    """Terms: differences from the teacher's image, of the network and of a tone learned alone."""
    wanted = teach(pair.first, pair.second)
    apart = model.named_parameters() if tone_alone else ()
    still = {name: weight.detach() for name, weight in apart if name.startswith("tone.")}
    fused = functional_call(model, still, (pair.first, pair.second))
    terms: dict[str, Term] = {
        "image": lambda: F.l1_loss(fused, wanted),
        "square": lambda: F.mse_loss(fused, wanted),
        "gradient": lambda: differences(fused, wanted),
        "ssim": lambda: 1 - losses.ssim_map(fused, wanted).mean(),
        "contrast": lambda: (_contrasts(fused) - _contrasts(wanted)).abs().mean(),
        "target_contrast": lambda: target_contrast(
            fused, pair.first, pair.second, target_source=source
        ),
    }
    if tone_alone:
        terms["tone_alone"] = partial(tone_alone, model, pair, wanted)
    return terms


def differences(fused: Tensor, wanted: Tensor) -> Tensor:
    """Mean absolute error of the differences between neighbours, along both axes."""
    error = fused - wanted
    return error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()


def _contrasts(images: Tensor) -> Tensor:
    """Logarithms of standard deviation and of spatial frequency: (2, B) for (B, 1, H, W)."""
    deviation = images.flatten(1).var(1)
    across, along = (images.diff(dim=axis).square().mean((1, 2, 3)) for axis in (-1, -2))
    frequency = across + along
    return torch.stack([deviation + _FLAT, frequency + _FLAT]).log() / 2


def _tone(model: FusionModel) -> Tone:
    assert isinstance(model, CDDFuseSmall)
    assert model.tone
    return model.tone


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
    contrast=0.1,
    tone_alone=1.0,
    tone_noise=0.1,
    steps=14_000,
    learning_rate=1e-3,
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
        ssim=0.1,
        sampling="whole",
        jitter=0.2,
        darken=0.4,
        cameras=0.0,
        scene=24,
        tone=0,
        tone_alone=0,
        keep_black=True,
    ),
    "quick": replace(_RELEASED, crop=128, batch=4, cycle=2, steps=0, minutes=10),
}
