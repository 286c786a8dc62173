"""What a recipe is: everything that decides what a training run computes, and nothing else.

How it is computed (devices, processes, folders, when to save) is the business of `train`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from cddfuse.errors import InputError
from cddfuse.layers import convolutions
from cddfuse.models.base import FusionModel
from cddfuse.pair import ImagePair

Terms = Callable[[FusionModel, ImagePair], dict[str, Tensor]]


@dataclass(frozen=True)
class Stage:
    """One phase of training: what is learned, by which parts, against which loss."""

    name: str
    epochs: float

    parts: tuple[str, ...]
    """Child modules of the network that learn; the others stand still."""

    terms: Terms
    """Terms of the loss by name, before weighting; also what is only worth watching."""

    weights: Mapping[str, float]
    """Factor of each term that counts."""

    rate: float = 1.0
    """Factor of the recipe's learning rate."""

    decay: float | None = None
    """In place of the recipe's."""


@dataclass(frozen=True)
class Recipe:
    """The settings that every method has. A method adds its own, and says what they mean."""

    crop: int = 128
    """Side of the square training crops, in pixels."""

    sampling: Literal["grid", "random"] = "grid"
    """Crops on a fixed grid, or a fresh random one of every image in every epoch."""

    stride: int = 200
    """Distance of the crops on the grid, in pixels."""

    min_contrast: float = 0.1
    """A crop counts only if (p90 - p10) / p90 reaches this in both images; 0 takes all crops."""

    flips: bool = False
    """Mirror crops at random, left-right and up-down."""

    jitter: float = 0.0
    """Largest random change of contrast and brightness of each image, as a share: 0.2 is 20 %."""

    dimming: float = 0.0
    """Darken each image at random, by this share at most; black stays black, unlike with jitter."""

    batch: int = 8
    """Pairs per step, over all devices together."""

    epochs: tuple[float, ...] = (40, 80)
    """Passes over the data in each stage."""

    steps: int = 0
    """Steps of all stages together, shared out as `epochs` are; 0 goes by `epochs`."""

    minutes: float = 0.0
    """Time of all stages together: a few timed steps decide how many there are; 0 goes by steps."""

    optimizer: Literal["adam", "adamw", "rmsprop"] = "adam"
    """How gradients become steps."""

    smoothing: float = 0.99
    """Of RMSprop: decay of the average of squared gradients."""

    momentum: float = 0.0
    """Of RMSprop."""

    learning_rate: float = 1e-4
    """Of the optimiser, at its highest."""

    warmup: int = 0
    """Steps over which the learning rate rises from zero."""

    schedule: Literal["halving", "exponential", "cosine", "constant"] = "halving"
    """Halved every so many epochs (or see `decay`); a little less at every step; held, then a
    cosine down to the floor in the last stage; held."""

    decay: float = 0.5
    """What a halving multiplies by; or an epoch, if exponential."""

    halve_every: float = 20
    """Epochs between halvings, for each part since it began to learn; 0 does not halve."""

    floor: float = 1e-6
    """Least learning rate."""

    clip: float = 0.01
    """Largest L2 norm of the gradient of each part; 0 does not clip."""

    ema: float = 0.0
    """Decay of the running average of the weights that is kept and saved; 0 keeps the last."""

    seed: int = 0
    """Of the initial weights, the crops and their order."""

    def __post_init__(self) -> None:
        least = {"crop": 16, "stride": 1, "batch": 1, "learning_rate": 0, "seed": 0}
        for name, value in vars(self).items():
            if isinstance(value, int | float) and not value >= least.get(name, 0):
                raise InputError(f"{name} is {value}: it must be at least {least.get(name, 0)}.")
        if not self.epochs or min(self.epochs) <= 0:
            raise InputError(f"epochs is {self.epochs}: each stage needs more than 0.")
        if self.dimming > 1:
            raise InputError(f"dimming is {self.dimming}: it is a share, at most 1.")
        if self.ema >= 1:
            raise InputError(f"ema is {self.ema}: it must be below 1.")

    def create_model(self) -> FusionModel:
        """The network, untrained."""
        raise NotImplementedError

    def prepare(self, model: FusionModel) -> None:
        """Add to the network what only training needs (see `FusionModel.add_helper`)."""

    def stages(self) -> tuple[Stage, ...]:
        """The stages, one after another."""
        raise NotImplementedError


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
    rate = recipe.learning_rate * (stage.rate if stage else 1)
    decay = recipe.decay if stage is None or stage.decay is None else stage.decay
    if recipe.schedule == "halving" and recipe.halve_every:
        rate = max(recipe.floor, rate * decay ** ((epoch + 1e-6) // recipe.halve_every))
    if recipe.schedule == "exponential":
        rate = max(recipe.floor, rate * decay**epoch)
    if recipe.schedule == "cosine":
        swing = (1 + math.cos(math.pi * min(max(last_stage, 0), 1))) / 2
        rate = recipe.floor + (rate - recipe.floor) * swing
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
