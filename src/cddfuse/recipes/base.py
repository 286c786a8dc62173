"""What a recipe is: everything that decides what a training run computes, and nothing else.

How it is computed (devices, processes, folders, when to save) is up to `train`.
"""

import inspect
import math
import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from cddfuse import losses
from cddfuse.datasets.crops import SMALLEST
from cddfuse.errors import InputError
from cddfuse.layers import convolutions
from cddfuse.models.base import FusionModel
from cddfuse.pair import ImagePair

Term = Callable[[], Tensor]
Terms = Callable[[FusionModel, ImagePair], Mapping[str, Term]]


class Once:
    """A tensor that several terms share: computed when first asked for."""

    def __init__(self, compute: Term) -> None:
        self._compute = compute
        self._value: Tensor | None = None

    def __call__(self) -> Tensor:
        """The tensor."""
        if self._value is None:
            self._value = self._compute()
        return self._value


@dataclass(frozen=True)
class Stage:
    """One phase of training: what is learned, by which parts, against which loss."""

    name: str
    epochs: float

    parts: tuple[str, ...]
    """Child modules of the network that learn; the others stand still."""

    terms: Terms
    """Forward pass. Gives the terms of the loss by name, before weighting; each is a function that
    computes it, so that only what is needed is computed."""

    weights: Mapping[str, float]
    """Weight of each term. Terms of weight 0 are computed only to be logged."""

    watched: tuple[str, ...] = ()
    """By-products of terms that count, logged at no cost."""

    lr_factor: float = 1.0
    """Multiplies the recipe's learning rate."""

    lr_gamma: float | None = None
    """Replaces the recipe's."""

    teacher: str = ""
    """Digest of the network that the terms ask, if any: a resumed run must have the same."""

    def losses(
        self, model: FusionModel, pair: ImagePair, log: Collection[str] = ()
    ) -> dict[str, Tensor]:
        """Terms before weighting: those that count, by-products, and those named in `log`."""
        wanted = {*self.counting, *self.watched, *log}
        terms = self.terms(model, pair)
        return {name: term() for name, term in terms.items() if name in wanted}

    @property
    def counting(self) -> dict[str, float]:
        """The weights that are not 0."""
        return {name: weight for name, weight in self.weights.items() if weight}


def setting(default: Any, group: str = "Loss", **bounds: float) -> Any:
    """A field of a recipe.

    Args:
        default: its value.
        group: heading under which a help text lists it.
        bounds: of a number: `least` and `most`, which it may be, `above` and `below`, which it may
            not. Numbers without a lower bound must be at least 0.
    """
    if "above" not in bounds:
        bounds = {"least": 0, **bounds}
    return field(default=default, metadata={"group": group, "bounds": bounds})


@dataclass(frozen=True)
class Recipe:
    """The settings that every method has. A method adds its own."""

    network: ClassVar[type[FusionModel]]

    crop: int = setting(128, "Data", least=SMALLEST)
    """Side of the square training crops, in pixels; without effect on whole images."""

    sampling: Literal["grid", "random", "whole"] = setting("grid", "Data")
    """In every epoch all crops of a fixed grid, one random crop of every image, or whole images."""

    stride: int = setting(200, "Data", least=1)
    """Distance of the crops on the grid, in pixels."""

    min_contrast: float = setting(0.1, "Data", most=1)
    """Least contrast (p90 - p10) / p90 of a crop, in both images; 0 takes all crops."""

    flips: bool = setting(False, "Data")
    """Mirror crops at random, left-right and up-down."""

    jitter: float = setting(0.0, "Data", most=1)
    """Largest random change of contrast and brightness of each image, as a share: 0.2 is 20 %."""

    darken: float = setting(0.0, "Data", most=1)
    """Darken each image at random, by this share at most; black stays black, unlike with jitter."""

    haze: float = setting(0.0, "Data", most=1)
    """Share of the crops whose first image is veiled at random, as by smoke or glare."""

    cameras: float = setting(0.0, "Data", most=1)
    """Share of the crops whose images look as if taken by other cameras: of another response, range
    of values and local contrast, in other light, out of focus, black-hot, noisy."""

    cycle: int = setting(0, "Data")
    """Epochs after which crops recur exactly, as a teacher needs that fuses each once; 0 never."""

    batch: int = setting(8, "Data", least=1)
    """Pairs per step, over all devices together."""

    epochs: tuple[float, ...] = setting((40, 80), "Recipe")
    """Passes over the data in each stage."""

    steps: int = setting(0, "Recipe")
    """Steps of all stages together, divided among them as `epochs` are; 0 goes by `epochs`."""

    minutes: float = setting(0.0, "Recipe")
    """Time for all stages together: a few timed steps decide how many there are; 0 goes by
    `steps`."""

    optimizer: Literal["adam", "adamw", "rmsprop"] = setting("adam", "Optimizer")
    """Optimizer."""

    rmsprop_alpha: float = setting(0.99, "Optimizer", below=1)
    """Smoothing constant of RMSprop."""

    momentum: float = setting(0.0, "Optimizer", below=1)
    """Momentum of RMSprop."""

    learning_rate: float = setting(1e-4, "Optimizer")
    """Peak learning rate."""

    warmup: int = setting(0, "Optimizer")
    """Steps over which the learning rate rises linearly from zero."""

    schedule: Literal["step", "exponential", "cosine", "constant"] = setting("step", "Optimizer")
    """Learning rate schedule: step multiplies it by `lr_gamma` every `lr_step` epochs, exponential
    by `lr_gamma` every epoch but continuously; cosine keeps it until the last stage, in which it
    falls to `min_lr` along a cosine; constant keeps it."""

    lr_gamma: float = setting(0.5, "Optimizer", most=1)
    """Factor of the schedules step and exponential."""

    lr_step: float = setting(20, "Optimizer")
    """Epochs between two steps of the schedule, for each part since it began to learn; 0 keeps the
    learning rate."""

    min_lr: float = setting(1e-6, "Optimizer")
    """Least learning rate of a schedule."""

    clip_norm: float = setting(0.01, "Optimizer")
    """Largest L2 norm of the gradient of each part; 0 does not clip."""

    ema: float = setting(0.0, "Optimizer", below=1)
    """Decay of the exponential moving average of the weights that is saved; 0 saves the last
    weights."""

    seed: int = setting(0, "Recipe")
    """Seed of the initial weights and of all that is random in the crops."""

    def __post_init__(self) -> None:
        for each in fields(self):
            _check(each.name, getattr(self, each.name), each.metadata)
        if self.schedule != "constant" and self.min_lr > self.learning_rate:
            raise InputError(
                f"min_lr is {self.min_lr}, above the learning_rate {self.learning_rate}: lower it.",
                setting="min_lr",
            )
        multiple = self.network.card.multiple_of
        if self.sampling != "whole" and self.crop % multiple:
            raise InputError(
                f"crop is {self.crop}: {self.network.card.name} needs a multiple of {multiple}.",
                setting="crop",
            )
        if not self.epochs or not all(0 < epochs < math.inf for epochs in self.epochs):
            raise InputError(
                f"epochs is {self.epochs}: each stage needs more than 0.", setting="epochs"
            )

    @classmethod
    def network_options(cls) -> tuple[str, ...]:
        """Settings that are arguments of the network's constructor."""
        arguments = inspect.signature(cls.network.__init__).parameters
        return tuple(each.name for each in fields(cls) if each.name in arguments)

    @classmethod
    def group(cls, name: str) -> str:
        """Heading under which a help text lists a setting."""
        if name in cls.network_options():
            return "Network"
        (metadata,) = (each.metadata for each in fields(cls) if each.name == name)
        return str(metadata.get("group", "Loss"))

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of the network's constructor."""
        return {name: getattr(self, name) for name in self.network_options()}

    def create_model(self) -> FusionModel:
        """The network, untrained."""
        return self.network(**self.options)

    def prepare(self, model: FusionModel) -> None:
        """Add to the network what only training needs (see `FusionModel.add_helper`)."""

    def stages(self) -> tuple[Stage, ...]:
        """The stages, one after another."""
        raise NotImplementedError


_BOUNDS: Mapping[str, tuple[str, Callable[[float, float], bool]]] = {
    "least": ("at least", operator.ge),
    "above": ("above", operator.gt),
    "most": ("at most", operator.le),
    "below": ("below", operator.lt),
}


def _check(name: str, value: Any, metadata: Mapping[str, Any]) -> None:
    """Refuse numbers that are out of bounds, infinite, or NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    bounds = metadata.get("bounds", {"least": 0})
    broken = [
        f"{_BOUNDS[kind][0]} {x}" for kind, x in bounds.items() if not _BOUNDS[kind][1](value, x)
    ]
    if not broken and math.isinf(value):
        broken = ["finite"]
    if broken:
        raise InputError(f"{name} is {value}: it must be {broken[0]}.", setting=name)


def learning_rate(
    recipe: Recipe, epoch: float, last_stage: float, step: int, stage: Stage | None = None
) -> float:
    """Learning rate of a part.

    Args:
        recipe: the settings.
        epoch: passes over the data since the part began to learn.
        last_stage: share of the last stage that is done; below 0 before it.
        step: steps since the run began, for the warm-up.
        stage: the current one, for settings of its own.
    """
    rate = recipe.learning_rate * (stage.lr_factor if stage else 1)
    gamma = recipe.lr_gamma if stage is None or stage.lr_gamma is None else stage.lr_gamma
    if recipe.schedule == "step" and recipe.lr_step:
        rate = max(recipe.min_lr, rate * gamma ** ((epoch + 1e-6) // recipe.lr_step))
    if recipe.schedule == "exponential":
        rate = max(recipe.min_lr, rate * gamma**epoch)
    if recipe.schedule == "cosine":
        swing = (1 + math.cos(math.pi * min(max(last_stage, 0), 1))) / 2
        rate = recipe.min_lr + (rate - recipe.min_lr) * swing
    return rate * min(1, (step + 1) / recipe.warmup) if recipe.warmup else rate


def truncated_normal(module: nn.Module, sigma: float) -> None:
    """Draw all kernels as TensorFlow programs do, within two sigmas; biases become zero.

    A sigma of 0 leaves PyTorch's own initial values.
    """
    for layer in convolutions(module) if sigma else ():
        nn.init.trunc_normal_(layer.weight, std=sigma, a=-2 * sigma, b=2 * sigma)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def frozen(module: nn.Module, *inputs: Any) -> Any:
    """Call a module that must not learn from what follows, though its inputs may."""
    state = {name: weight.detach() for name, weight in module.named_parameters()}
    return functional_call(module, state, inputs)


def batch_generator(pair: ImagePair) -> torch.Generator:
    """Chance that depends on the batch alone, so that a resumed run throws the same."""
    seed = int(pair.first.double().sum() * 2**16) % 2**31
    return torch.Generator().manual_seed(seed)


def saliency_weighted(fused: Tensor, pair: ImagePair) -> dict[str, Term]:
    """SSIM and intensity terms in which each source counts where it is salient."""
    share = Once(partial(losses.saliency_share, pair.first, pair.second))
    return {
        "ssim": lambda: losses.saliency_weighted_ssim(fused, pair.first, pair.second, share()),
        "intensity": lambda: losses.saliency_weighted_intensity(
            fused, pair.first, pair.second, share()
        ),
    }
