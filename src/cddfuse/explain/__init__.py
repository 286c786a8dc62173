"""Look into a network that takes images apart: features, correlation, contributions, shares."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cddfuse.colour import luma
from cddfuse.errors import InputError
from cddfuse.explain.contributions import shares, without, without_residual
from cddfuse.explain.features import (
    MARGIN,
    channel_mean,
    correlations,
    cropped,
    decomposing,
    require_decomposing,
    taken_apart,
)
from cddfuse.models.base import FusionModel, Part
from cddfuse.pair import ImagePair
from cddfuse.runtime import memory

__all__ = ["Explanation", "PartView", "Settings", "decomposing", "explain", "require_decomposing"]

_TIMES = 4  # of a plain run: what the derivatives and the features of all parts take


@dataclass(frozen=True)
class Settings:
    """How a pair is explained."""

    size: int = 320
    """Longest side in pixels; larger images are reduced to it."""

    directions: int = 2
    """Random directions by which the shares are estimated; 0 leaves them out."""

    seed: int = 0
    """Of the directions."""

    def __post_init__(self) -> None:
        for name, least in (("size", 16), ("directions", 0)):
            if getattr(self, name) < least:
                text = f"{name} is {getattr(self, name)}: it must be {least} or more."
                raise InputError(text, setting=name)


@dataclass(frozen=True)
class PartView:
    """One kind of features."""

    first: Tensor | None
    """Mean over channels, (1, H, W), of any range; None where each source has none of its own."""

    second: Tensor | None
    fused: Tensor
    correlation: Tensor | None
    """Between both sources, (C,): see `features.correlations`."""

    correlation_inside: Tensor | None
    """The same without a border of 8 pixels of the image, where padding makes features alike."""

    without: Tensor
    """The result (1, H, W) with this part switched off."""


@dataclass(frozen=True)
class Explanation:
    """What a network makes of a pair. Images and maps are (1, H, W)."""

    pair: ImagePair
    """Grey, at the size that was explained."""

    original: tuple[int, int]
    """Height and width before they were reduced."""

    fused: Tensor
    parts: Mapping[str, PartView]
    correlation: float
    """Of the source images themselves, to compare that of the features with."""

    residual: Tensor | None = None
    without_residual: Tensor | None = None
    share: Tensor | None = None
    """Of the first source in each pixel of the result: see `contributions.shares`."""


@torch.no_grad()
def explain(model: FusionModel, pair: ImagePair, settings: Settings | None = None) -> Explanation:
    """Take a pair apart as a network does.

    Args:
        model: one of `decomposing()`, or a network of your own that has `decomposed`, in evaluation
            mode, on its device.
        pair: images (C, H, W) in [0, 1]; colour is left out.
        settings: size, and accuracy of the shares.

    Raises:
        InputError: the network has no parts, or the images are too small or too large for it.
    """
    settings = settings or Settings()
    require_decomposing(model)
    first, second = (luma(image)[None] for image in pair[:2])
    if first.shape != second.shape:
        raise InputError(f"the images of {pair.name or 'the pair'} differ in size: resize them.")
    original = first.shape[-2], first.shape[-1]
    height, width = _size(model, *original, settings)
    device = next((weight.device for weight in model.parameters()), first.device)
    first, second = (_reduced(x, height, width).to(device) for x in (first, second))
    found = taken_apart(model, first, second)
    fused = found.join({kind: part.fused for kind, part in found.parts.items()}, found.residual)
    off = without(found)
    bare = without_residual(found)
    views = {
        kind: _view(part, off[kind], height, width, found.border)
        for kind, part in found.parts.items()
    }
    residual = found.residual
    del found  # the features are the larger part of the memory
    share = shares(model, first, second, settings.directions, settings.seed)
    return Explanation(
        pair=ImagePair(first[0].cpu(), second[0].cpu(), pair.name),
        original=original,
        fused=fused[0].cpu(),
        parts=views,
        correlation=float(correlations(first, second)),
        residual=None if residual is None else residual[0].cpu(),
        without_residual=None if bare is None else bare[0].cpu(),
        share=None if share is None else share[0].cpu(),
    )


def _size(model: FusionModel, height: int, width: int, settings: Settings) -> tuple[int, int]:
    """Height and width to explain at: no larger than asked for, and such that the network can."""
    card = model.card
    scale = min(1.0, settings.size / max(height, width))
    small = [
        max(1, round(side * scale)) // card.multiple_of * card.multiple_of
        for side in (height, width)
    ]
    if min(small) < max(card.smallest, card.multiple_of):
        raise InputError(
            f"{small[1]}x{small[0]} pixels are too small for {card.name}, which takes "
            f"{max(card.smallest, card.multiple_of)} or more: use larger images, or a larger size.",
            setting="size",
        )
    device = next((weight.device for weight in model.parameters()), torch.device("cpu"))
    need, room = _TIMES * memory.needed(model, 1, *small), memory.budget(device)
    if need > room:
        raise InputError(
            f"explaining {small[1]}x{small[0]} pixels takes about {need / 1e9:.1f} GB, of "
            f"{room / 1e9:.1f} that can be used: use a smaller size.",
            setting="size",
        )
    return small[0], small[1]


def _reduced(image: Tensor, height: int, width: int) -> Tensor:
    if image.shape[-2:] == (height, width):
        return image
    size = (height, width)
    return F.interpolate(image, size, mode="bilinear", antialias=True).clamp(0, 1)


def _view(part: Part, off: Tensor, height: int, width: int, border: int) -> PartView:
    maps = (x if x is None else channel_mean(x, height, width, border)[0].cpu() for x in part)
    first, second, fused = maps
    assert fused is not None
    alike = inside = None
    if part.first is not None and part.second is not None:
        sides = [cropped(x, border) for x in (part.first, part.second)]
        margin = max(1, round(MARGIN * sides[0].shape[-2] / height))
        alike = correlations(*sides)[0].cpu()
        inside = correlations(*(cropped(x, margin) for x in sides))[0].cpu()
    return PartView(first, second, fused, alike, inside, off[0].cpu())
