"""How a formula about grey levels becomes a score of a fusion."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from cddfuse.errors import InputError
from cddfuse.threads import single_threaded

_WHITE = 255  # published scores are computed on saved 8-bit images; scaled here and nowhere else
_ROWS = 64


class Levels(NamedTuple):
    """A batch of fused images and their sources on the grey levels 0 to 255.

    In float32, which holds whole levels exactly. Formulas go on in float64 where they need to.
    """

    fused: Tensor
    """(B, 1, H, W)."""

    sources: Tensor
    """(2, B, 1, H, W): all first sources, all second ones."""


def levels(fused: Tensor, first: Tensor, second: Tensor) -> Levels:
    """Round images (B, 1, H, W) in [0, 1] to 8 bit, half to even."""
    images = {"fused": fused, "first": first, "second": second}
    for name, image in images.items():
        if image.ndim != 4 or image.shape[1] != 1 or image.shape != fused.shape:
            raise InputError(
                f"Scores need three grey images of one shape (B, 1, H, W): fused is "
                f"{tuple(fused.shape)}, but {name} is {tuple(image.shape)}. "
                "Take the brightness of colour images with cddfuse.colour.luma."
            )
    grey = torch.empty(3, *fused.shape, dtype=torch.float32, device=fused.device)
    for place, image in zip(grey, images.values(), strict=True):
        _round(image.detach(), place)
    if grey.numel() == 0:
        raise InputError(f"Scores need images with pixels: got shape {tuple(fused.shape)}.")
    low, high = grey.aminmax()
    if not (low >= 0 and high <= _WHITE):
        raise InputError(
            f"Scores need images in [0, 1]: got values from {low.item() / _WHITE:g} "
            f"to {high.item() / _WHITE:g}."
        )
    return Levels(grey[0], grey[1:])


def _round(image: Tensor, levels: Tensor) -> None:
    """In parts, so that little is in float64 at a time."""
    for part, place in zip(image.split(_ROWS, -2), levels.split(_ROWS, -2), strict=True):
        place.copy_(part.double().mul(_WHITE).round_())


@dataclass(frozen=True)
class Metric:
    """A named score. Call it with (B, 1, H, W) images in [0, 1]; it gives (B,) in float64."""

    name: str
    """The only name: in Python, on the command line, in tables and in file names."""

    title: str

    formula: Callable[..., Tensor]
    """A function of grey levels 0 to 255, (B, 1, H, W), any float: (B,) in float64."""

    over: Literal["fused", "each", "both"]
    """What the formula takes: the fused image; it and each source; it and the two together."""

    combine: Literal["sum", "mean"] | None
    """What is done with the values of the two sources, if `parallel_map` is "each"."""

    unit: str
    """Empty for a pure number."""

    range: tuple[float, float]
    """Least and greatest value that 8-bit images can have."""

    better: Literal["higher", "lower"]

    source: str
    """The paper that the formula is from."""

    smallest: int = 1
    """Least height and width, in pixels."""

    note: str = ""
    """What is particular here: where it departs from the paper, from other profiles, from sense."""

    def __call__(self, fused: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Score each fused image of the batch against its two sources."""
        return self.of(levels(fused, first, second))

    def of(self, images: Levels) -> Tensor:
        """The score of images that are on grey levels already, which many metrics can share."""
        height, width = images.fused.shape[-2:]
        if min(height, width) < self.smallest:
            raise InputError(
                f"{self.name} needs images of at least {self.smallest} x {self.smallest} pixels: "
                f"got {height} x {width}."
            )
        return self._value(images)

    @single_threaded
    @torch.no_grad()
    def _value(self, images: Levels) -> Tensor:
        if self.over == "fused":
            return self.formula(images.fused)
        if self.over == "both":
            return self.formula(images.fused, *images.sources)
        value = self.formula(images.fused, images.sources)
        return value.sum(0) if self.combine == "sum" else value.mean(0)
