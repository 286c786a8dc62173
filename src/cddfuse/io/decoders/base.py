"""What every decoder returns."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

from cddfuse.io.metadata import NOTHING, Ancillary

Pixels = NDArray[Any]
"""(H, W) or (H, W, 3), without alpha."""

Kind = Literal["u", "i", "f"]
"""Unsigned integers, signed integers, floats: NumPy's letters."""


class UnreadableError(Exception):
    """A well-formed file that no decoder reads. The message continues "FILE ..."."""


@dataclass(frozen=True)
class Encoded:
    """An image whose header has been read and whose pixels have not."""

    width: int
    height: int

    bits: int
    """Of one channel."""

    kind: Kind

    pixels: Callable[[], Pixels]
    """Decodes the pixels as they are stored, not turned."""

    images: int = 1
    """How many images the file holds; previews and masks do not count."""

    ancillary: Ancillary = NOTHING

    white: int | None = None
    """The level of white where it is not the largest that the bits hold."""

    nodata: float | None = None
    """The value of pixels that were not measured."""

    unit: Literal["", "C"] = ""
    """C if the values are degrees Celsius for certain."""

    @property
    def deep(self) -> bool:
        """Whether 8 bits do not hold the values."""
        return self.kind != "u" or self.bits > 8

    @property
    def full(self) -> tuple[float, float]:
        """The values that stand for black and white: all that the type holds, [0, 1] for floats."""
        if self.kind == "f":
            return 0.0, 1.0
        if self.white is not None:
            return 0.0, float(self.white)
        half = 2 ** (self.bits - 1)
        return (0.0, 2.0 * half - 1) if self.kind == "u" else (-float(half), half - 1.0)
