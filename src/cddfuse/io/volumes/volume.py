"""A volume in memory: values, their place in space, and what messages and results need."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from cddfuse.errors import InputError

Affine = NDArray[np.float64]

FUNCTIONAL = ("PT", "NM")
"""DICOM modalities that show function: PET, and SPECT."""


@dataclass(frozen=True)
class Uptake:
    """Standardised uptake values of a PET series, or why there are none."""

    factor: float = 0.0
    """SUV per unit of the values; 0 if there is none."""

    refusal: str = "it is not a PET series of DICOM"


@dataclass(frozen=True)
class Volume:
    """One scalar volume."""

    values: NDArray[np.float32] = field(repr=False)
    """(I, J, K); NaN where nothing was measured."""

    affine: Affine
    """(4, 4), from voxel numbers to millimetres, RAS (right, anterior, superior)."""

    name: str
    """What messages call it: a path, or a series by number and modality. No patient data."""

    modality: str = ""
    """As DICOM codes it: CT, MR, PT, NM; empty if not known."""

    full: tuple[float, float] | None = None
    """Black and white of 8-bit volumes."""

    inverted: bool = False
    """Whether low values are meant to be white (MONOCHROME1)."""

    window: tuple[float, float] | None = None
    """Level and width that the file proposes."""

    uptake: Uptake = Uptake()
    placed: bool = True
    """Whether the file says where the volume is."""

    space: int = 1
    """NIfTI code of the coordinate system: 1 is that of the scanner."""

    frame_of_reference: str = field(default="", repr=False)
    patient: tuple[str, str] | None = field(default=None, repr=False)
    """Identifier and its issuer: only to be compared."""

    header: Any = field(default=None, repr=False)
    """A `pydicom.Dataset` of what results inherit: patient and study. Never shown."""

    instances: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """SOP class and instance of each slice."""

    files: tuple[Path, ...] = field(default=(), repr=False)
    """What it was read from. Never shown: names of files are often those of patients."""

    notes: tuple[str, ...] = ()
    incomplete: tuple[str, ...] = ()
    """Reasons why part of what was given is not in it."""

    @property
    def spacing(self) -> NDArray[np.float64]:
        """Distance of neighbours along each axis in millimetres."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))


def places(affine: Affine) -> bool:
    """Whether an affine gives every voxel a place of its own, within the precision of numbers."""
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or not np.isfinite(sizes).all() or sizes.min() < 1e-9:
        return False
    return abs(float(np.linalg.det(affine[:3, :3] / sizes))) > 1e-6


def require_memory(shape: tuple[int, ...], name: str) -> None:
    """Refuse a volume that does not fit into memory, before it is read."""
    needed = 4 * int(np.prod([int(size) for size in shape], dtype=object))
    if needed > psutil.virtual_memory().available:
        size = "x".join(map(str, shape))
        raise InputError(
            f"{name} has {size} voxels, which do not fit in memory: cut out the part you need."
        )


@contextmanager
def extra() -> Iterator[None]:
    """Name the extra that a missing library belongs to."""
    try:
        yield
    except ImportError as error:
        raise InputError(
            f"medical volumes need {error.name}: pip install 'cddfuse[medical]'."
        ) from error
