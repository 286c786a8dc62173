"""Settings of medical volumes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Axis = Literal["axial", "coronal", "sagittal"]
ColourMap = Literal["grey", "hot_iron", "hot_metal_blue", "pet", "inferno", "magma"]
Side = Literal["first", "second"]


@dataclass(frozen=True)
class VolumeReading:
    """How two volumes become pairs of slices."""

    onto: Side = "first"
    """The volume whose grid the result has; the other is resampled onto it."""

    axis: Axis | None = None
    """Direction that slices are taken along; None is that of the scan, the third of the grid."""

    slices: str = ""
    """START:STOP:STEP or one number, counted from 0 as the grid stores them; empty is all."""

    series: Sequence[str] = ()
    """Series numbers, for folders with several: `2`, or after `first=` or `second=`.

    Of those with the same number, `2.1` and `2.2`; without one, `none`.
    """

    window: Sequence[str] = ()
    """CT windows: LEVEL:WIDTH or a name of `mapping.WINDOWS`; `first=` and `second=` as above."""

    suv: str = ""
    """HIGH or LOW:HIGH: standardised uptake values of PET that become black and white."""

    anonymous: bool = False
    """Leave patient and study out of the result."""


@dataclass(frozen=True)
class VolumeWriting:
    """How fused slices become a result."""

    colour_map: ColourMap | None = None
    """None is hot_iron where the first volume is PET or SPECT, else grey."""

    colour_by: Literal["first", "fused"] = "first"
    """The value that the colour map is looked up by."""
