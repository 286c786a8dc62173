"""Flags of medical volumes."""

from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Parameter

from cddfuse.cli.common import Flag, Words
from cddfuse.errors import InputError
from cddfuse.io.volumes.options import VolumeReading, VolumeWriting


@Parameter(name="*", group="Medical volumes: research use, not for diagnosis")
@dataclass(frozen=True)
class VolumeFlags:
    """NIfTI files and DICOM series."""

    onto: Literal["first", "second"] = "first"
    """The volume whose grid the result has; the other is resampled onto it."""

    axis: Literal["axial", "coronal", "sagittal"] | None = None
    """Direction that slices are taken along; by default that of the scan."""

    slices: Annotated[str, Parameter(allow_leading_hyphen=True)] = ""
    """Slices as START:STOP:STEP or one number, counted from 0; all by default."""

    series: Words = ()
    """Series numbers for folders with several, such as 2, or first=2 second=5."""

    window: Annotated[
        tuple[str, ...],
        Parameter(
            consume_multiple=True, negative=(), show_default=False, allow_leading_hyphen=True
        ),
    ] = ()
    """Window of CT as LEVEL:WIDTH, or brain, soft-tissue, lung, bone, or file; for NIfTI after
    first= or second=."""

    suv: str = ""
    """Standardised uptake values of PET that become black and white: HIGH or LOW:HIGH, such as
    10."""

    colour_map: Literal["grey", "hot_iron", "hot_metal_blue", "pet", "inferno", "magma"] | None = (
        None
    )
    """Colours of the result; by default hot_iron if the first volume is PET or SPECT, else grey.
    Networks fuse the values, never the colours."""

    colour_by: Literal["first", "fused"] = "first"
    """What the colour shows: the value of the first volume, over the fused brightness, or the fused
    value itself."""

    anonymous: Flag = False
    """Leave patient and study out of DICOM results."""

    def reading(self) -> VolumeReading:
        """How the volumes are read, as the library takes it."""
        return VolumeReading(
            self.onto,
            self.axis,
            self.slices,
            self.series,
            self.window,
            self.suv,
            self.anonymous,
        )

    def writing(self, *, grey: bool) -> VolumeWriting:
        """How results are coloured, as the library takes it."""
        if grey and self.colour_map not in (None, "grey"):
            text = f"grey leaves no colours of {self.colour_map}: leave one out."
            raise InputError(text, setting=("grey", "colour_map"))
        return VolumeWriting("grey" if grey else self.colour_map, self.colour_by)
