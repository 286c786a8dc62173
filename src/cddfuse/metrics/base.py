"""Metric: a formula on grey levels, and what has to be known to read its values."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from cddfuse.errors import InputError
from cddfuse.threads import single_threaded

_WHITE = 255  # published scores are computed on saved 8-bit images; this is the only conversion
_ROWS = 64


class Levels(NamedTuple):
    """A batch of fused images and their sources, as grey levels 0 to 255.

    In float32, which holds integers exactly. Formulas convert to float64 where they need it.
    """

    fused: Tensor
    """(B, 1, H, W)."""

    sources: Tensor
    """(2, B, 1, H, W): all first sources, then all second ones."""


def levels(fused: Tensor, first: Tensor, second: Tensor) -> Levels:
    """Quantise images (B, 1, H, W) in [0, 1] to 8 bits, rounding half to even."""
    images = {"fused": fused, "first": first, "second": second}
    for name, image in images.items():
        if image.ndim != 4 or image.shape[1] != 1 or image.shape != fused.shape:
            raise InputError(
                f"metrics need three grey images of one shape (B, 1, H, W): fused is "
                f"{tuple(fused.shape)}, but {name} is {tuple(image.shape)}. "
                "Take the brightness of colour images with cddfuse.colour.luma."
            )
    grey = torch.empty(3, *fused.shape, dtype=torch.float32, device=fused.device)
    for place, image in zip(grey, images.values(), strict=True):
        _round(image.detach(), place)
    if grey.numel() == 0:
        raise InputError(f"metrics need images with pixels: got shape {tuple(fused.shape)}.")
    low, high = grey.aminmax()
    if not (low >= 0 and high <= _WHITE):
        raise InputError(
            f"metrics need images in [0, 1]: got values from {low.item() / _WHITE:g} "
            f"to {high.item() / _WHITE:g}."
        )
    return Levels(grey[0], grey[1:])


def _round(image: Tensor, levels: Tensor) -> None:
    """In blocks of rows, to hold little in float64 at a time."""
    for part, place in zip(image.split(_ROWS, -2), levels.split(_ROWS, -2), strict=True):
        place.copy_(part.double().mul(_WHITE).round_())


@dataclass(frozen=True)
class Metric:
    """A named score. Call it with images (B, 1, H, W) in [0, 1] to get (B,) in float64.

    Your own needs a name, a title, a formula and what the formula is over; it is accepted wherever
    names of metrics are.
    """

    name: str
    """The only name: in Python, on the command line, in tables and in file names."""

    title: str

    formula: Callable[..., Tensor]
    """A function of grey levels 0 to 255 in float32, by `over`.

    "fused": takes the fused images (B, 1, H, W); "both": takes them, the first and the second
    sources; both give (B,). "each": takes the fused images and all sources (2, B, 1, H, W), which
    broadcast, and gives (2, B).
    """

    over: Literal["fused", "each", "both"]
    """What the formula takes: the fused image; it and each source; it and the two together."""

    combine: Literal["sum", "mean"] | None = None
    """How the values for the two sources become one, if `over` is "each"; None is the mean."""

    unit: str = ""
    """Empty for a pure number."""

    range: tuple[float, float] = (-math.inf, math.inf)
    """Lowest and highest value that 8-bit images can have."""

    better: Literal["higher", "lower"] = "higher"

    source: str = ""
    """The paper that the formula is from."""

    smallest: int = 1
    """Smallest height and width, in pixels, for which it is defined."""

    note: str = ""
    """Differences from the paper and from other profiles, and known weaknesses."""

    latex: str = ""
    """The formula, as LaTeX, of the fused image F and the sources A and B, H x W pixels of grey
    levels; if `over` is "each", of F and one source X, before `combine`."""

    def __call__(self, fused: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Score each fused image of the batch against its two sources."""
        images = levels(fused, first, second)
        height, width = images.fused.shape[-2:]
        if not self.covers(height, width):
            raise InputError(
                f"{self.name} needs images of at least {self.smallest} x {self.smallest} pixels: "
                f"got {height} x {width}."
            )
        return self.of(images)

    def covers(self, height: int, width: int) -> bool:
        """Whether it is defined for images of a size."""
        return min(height, width) >= self.smallest

    def of(self, images: Levels) -> Tensor:
        """The score of grey levels, which metrics can share; NaN for images that are too small."""
        count, _, height, width = images.fused.shape
        if not self.covers(height, width):
            return images.fused.new_full((count,), math.nan, dtype=torch.float64)
        value = self._value(images)
        if not isinstance(value, Tensor) or value.shape != (count,):
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise InputError(
                f"the formula of {self.name} gives {got} for {count} images, where one value for "
                "each is needed: see cddfuse.metrics.Metric.formula."
            )
        return value.double()

    @single_threaded
    @torch.no_grad()
    def _value(self, images: Levels) -> Tensor:
        if self.over == "fused":
            return self.formula(images.fused)
        if self.over == "both":
            return self.formula(images.fused, *images.sources)
        value = self.formula(images.fused, images.sources)
        return value.sum(0) if self.combine == "sum" else value.mean(0)
