"""Two volumes as a source of pairs: slices of one grid, mapped to [0, 1]."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cddfuse import colour
from cddfuse.errors import InputError
from cddfuse.io.files import require_there
from cddfuse.io.listing import Skipped
from cddfuse.io.metadata import Metadata
from cddfuse.io.ranges import Ranges, Rule
from cddfuse.io.source import Entry, Kind, Loaded
from cddfuse.io.volumes import dicom, nifti
from cddfuse.io.volumes.colour_maps import coloured
from cddfuse.io.volumes.finding import is_dicom
from cddfuse.io.volumes.mapping import Mapping, mappings, sides
from cddfuse.io.volumes.options import ColourMap, VolumeReading, VolumeWriting
from cddfuse.io.volumes.planes import Plane, numbers_of, plane_of
from cddfuse.io.volumes.resample import Resampled, overlap, same_grid, sample
from cddfuse.io.volumes.volume import FUNCTIONAL, Affine, Volume, extra
from cddfuse.pair import ImagePair

_SCATTERED = 0.5  # of the grid; less cover by the other volume is worth a sentence
_COARSE = 1.5  # times the spacing: resampling onto the coarser grid loses detail


@dataclass(frozen=True)
class VolumePair:
    """Slices of two volumes on the grid of one of them."""

    kind: ClassVar[Kind] = "volume"
    volumes: tuple[Volume, Volume]
    mappings: tuple[Mapping, Mapping]
    fixed: int
    """Which of them has the grid: 0 or 1."""

    same: bool
    """Whether both have it."""

    plane: Plane
    numbers: range
    """The slices, counted along the axis of the plane."""

    anonymous: bool = False
    notes: Sequence[str] = ()
    skipped: Sequence[Skipped] = ()

    @property
    def grid(self) -> Volume:
        """The volume whose grid the result has."""
        return self.volumes[self.fixed]

    @property
    def ranges(self) -> Ranges:
        """The values of each volume that become black and white."""
        return Ranges(*(Rule("range", given=mapping.range) for mapping in self.mappings))

    @property
    def length(self) -> int:
        """Number of slices."""
        return len(self.numbers)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a slice."""
        sizes = self.grid.values.shape
        return sizes[self.plane.rows], sizes[self.plane.columns]

    @property
    def affine(self) -> Affine:
        """(4, 4): from (column, row, number of the slice, 1) to millimetres, RAS."""
        return self.grid.affine @ self.plane.placement(self.grid.values.shape)

    @property
    def folders(self) -> set[Path]:
        """Those of DICOM sources, in which results would be taken for slices later."""
        files = {
            file for volume in self.volumes if volume.header is not None for file in volume.files
        }
        real = {Path(os.path.realpath(file)) for file in files}  # files may be links
        parents = {file.absolute().parent for file in files} | {file.parent for file in real}
        return parents | {file for file in real if os.path.isdir(file)}

    def name(self, number: int) -> str:
        """What the result of a slice is filed under."""
        return f"{number:04d}"

    def __iter__(self) -> Iterator[Entry[Loaded]]:
        """The slices in order."""
        for number in self.numbers:
            yield Entry(self.name(number), f"slice {number}", partial(self._read, number))

    def _read(self, number: int) -> Loaded:
        first, second, inside = self.slices(number)
        # No edge where the other volume ends: `finished` drops what the network makes beyond.
        if inside is not None:
            images = [first, second]
            images[1 - self.fixed] = torch.where(inside, images[1 - self.fixed], images[self.fixed])
            first, second = images
        return Loaded(ImagePair(first, second, self.name(number)), Metadata(bits=16))

    def slices(self, number: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Both sides (1, H, W) in [0, 1], and where the other volume covers the grid.

        What is not covered is black; None means that all of it is.
        """
        images: list[Tensor] = []
        inside = None
        for place, (volume, mapping) in enumerate(zip(self.volumes, self.mappings, strict=True)):
            if place == self.fixed or self.same:
                values = self.plane.view(volume.values, number)
                images.append(_tensor(mapping.apply(values)))
            else:
                found = self._sampled(number)
                images.append(_tensor(mapping.apply(found.values) * found.inside))
                inside = None if found.inside.all() else torch.from_numpy(found.inside)[None]
        return images[0], images[1], inside

    def finished(self, number: int, fused: Tensor, writing: VolumeWriting) -> Tensor:
        """The result of a slice: the grid's own image where the other volume is absent, coloured.

        Args:
            number: of the slice.
            fused: (1, H, W) in [0, 1].
            writing: how it is coloured.

        Returns:
            (1, H, W), or (3, H, W) if a colour map is used.
        """
        first, second, inside = self.slices(number)
        if inside is not None:
            fused = torch.where(inside, fused, second if self.fixed else first)
        chosen = self.colour_map(writing)
        if chosen == "grey":
            return fused
        if writing.colour_by == "fused":
            return coloured(fused, chosen)
        return colour.join(fused, colour.split(coloured(first, chosen))[1])

    def colour_map(self, writing: VolumeWriting) -> ColourMap:
        """The colour map that was chosen, or the usual one of the first modality."""
        functional = self.volumes[0].modality in FUNCTIONAL
        return writing.colour_map or ("hot_iron" if functional else "grey")

    def _sampled(self, number: int) -> Resampled:
        other = self.volumes[1 - self.fixed]
        matrix = np.linalg.inv(other.affine) @ self.affine
        return sample(other.values, matrix, self.shape, number)


def open_volumes(
    first: Path,
    second: Path | None,
    reading: VolumeReading,
    ranges: Ranges,
    leave_out: Sequence[Path] = (),
) -> VolumePair:
    """Two volumes: NIfTI files, folders with a DICOM series each, or one folder with both.

    Args:
        first: PET, SPECT or CT.
        second: MRI. None where one folder holds two series.
        reading: how.
        ranges: rules for values that become black and white.
        leave_out: folders that are ignored, such as that of the results.
    """
    with extra():
        import nibabel  # noqa: F401
        import pydicom  # noqa: F401
    volumes = _volumes(first, second, reading, leave_out)
    notes = [note for volume in volumes for note in volume.notes]
    same = _on_one_grid(*volumes)
    fixed = 1 if reading.onto == "second" else 0
    notes += _comparison(volumes, fixed, same, anonymous=reading.anonymous)
    *found, sentences = mappings(*volumes, reading, ranges)
    for volume, mapping in zip(volumes, found, strict=True):
        np.nan_to_num(volume.values, copy=False, nan=mapping.darkest)
    grid = volumes[fixed]
    plane = plane_of(grid.affine, reading.axis)
    numbers = numbers_of(reading.slices, grid.values.shape[plane.axis])
    skipped = [
        Skipped(path, reason)
        for path, volume in zip((first, second or first), volumes, strict=True)
        for reason in volume.incomplete
    ]
    return VolumePair(
        volumes,
        (found[0], found[1]),
        fixed,
        same,
        plane,
        numbers,
        anonymous=reading.anonymous,
        notes=[*notes, *sentences],
        skipped=list(dict.fromkeys(skipped)),
    )


def _volumes(
    first: Path, second: Path | None, reading: VolumeReading, leave_out: Sequence[Path]
) -> tuple[Volume, Volume]:
    wanted = sides(reading.series, "series")
    if second is None:
        if not os.path.isdir(first):
            raise InputError(f"{first} is one volume: give the second one too.")
        return _of_study(first, wanted, leave_out)
    paths = {"first": first, "second": second}
    found = [
        _read(path, wanted.get(side, wanted.get("", "")), leave_out) for side, path in paths.items()
    ]
    return found[0], found[1]


def _read(path: Path, number: str, leave_out: Sequence[Path]) -> Volume:
    require_there(path)
    if not os.path.isdir(path) and not is_dicom(path):
        if not path.name.lower().endswith(nifti.SUFFIXES):
            raise InputError(f"{path} is no volume: give a NIfTI file or a folder of DICOM.")
        if number:
            raise InputError(f"{path} has no series {number}: NIfTI files hold one.", "series")
        return nifti.read_nifti(path)
    found = dicom.find_series(path, leave_out)
    known = _numbered(found.series)
    chosen = known.get(number) if number or len(known) > 1 else found.series[0]
    if chosen is None:
        raise _choice(path, known, "choose one")
    return _complete(dicom.read_series(chosen, path), found)


def _of_study(
    folder: Path, wanted: dict[str, str], leave_out: Sequence[Path]
) -> tuple[Volume, Volume]:
    """Two series of one folder; function comes first, MR last."""
    found = dicom.find_series(folder, leave_out)
    known = _numbered(found.series)
    if wanted.keys() >= {"first", "second"}:
        chosen = [known[wanted[side]] for side in ("first", "second") if wanted[side] in known]
    else:
        chosen = sorted(found.series, key=_place)
    if len(chosen) != 2 or chosen[0] is chosen[1]:
        raise _choice(folder, known, "choose two, as in first=2 second=5")
    one, other = (_complete(dicom.read_series(series, folder), found) for series in chosen)
    return one, other


def _numbered(found: Sequence[dicom.Series]) -> dict[str, dicom.Series]:
    """Series by number. Those that share one are 3.1, 3.2 and on, in the order of their files."""
    counts = Counter(series.number for series in found)
    ranks: Counter[str] = Counter()
    known = {}
    for series in found:
        ranks[series.number] += 1
        rank = f".{ranks[series.number]}" if counts[series.number] > 1 else ""
        known[series.number + rank] = series
    return known


def _place(series: dicom.Series) -> int:
    order = (*FUNCTIONAL, "CT", "MR")
    return order.index(series.modality) if series.modality in order else 2


def _complete(volume: Volume, found: dicom.Found) -> Volume:
    files, folders = ("s" * (number != 1) for number in (found.damaged, found.closed))
    texts = (
        f"{found.damaged} damaged DICOM file{files} left out" if found.damaged else "",
        f"{found.closed} subfolder{folders} that cannot be opened left out" if found.closed else "",
    )
    return replace(volume, incomplete=tuple(filter(None, texts)))


def _choice(path: Path, known: dict[str, dicom.Series], advice: str) -> InputError:
    texts = [
        f"{number} ({series.modality or '?'}, {series.length} slices)"
        for number, series in known.items()
    ]
    more = ", and others" if len(texts) > 12 else ""
    listed = ", ".join(texts[:12])
    return InputError(f"{path} holds the series {listed}{more}: {advice}.", "series")


def _comparison(
    volumes: tuple[Volume, Volume], fixed: int, same: bool, *, anonymous: bool
) -> list[str]:
    """Sentences about how the volumes lie to each other; refuses those that cannot be fused."""
    grid, other = volumes[fixed], volumes[1 - fixed]
    if grid.patient and other.patient and not anonymous and _differ(grid.patient, other.patient):
        raise InputError(
            f"{volumes[0].name} and {volumes[1].name} are of two patients by their identifiers: "
            "check the folders, or leave the patient out of the result.",
            "anonymous",
        )
    unplaced = [volume.name for volume in volumes if not volume.placed]
    if unplaced:
        if not same:
            raise InputError(
                f"{unplaced[0]} does not say where it lies, and the grids of the volumes differ: "
                "register them first."
            )
        return [f"{unplaced[0]} does not say where it lies: its voxels are taken as registered"]
    notes = []
    frames = grid.frame_of_reference, other.frame_of_reference
    if all(frames) and frames[0] != frames[1]:
        notes.append(
            "the series have different frames of reference: unless they were registered, they do "
            "not match"
        )
    if not grid.header and not other.header and grid.space != other.space:
        notes.append(
            f"the volumes are in different coordinate systems (NIfTI codes {volumes[0].space} and "
            f"{volumes[1].space}): unless they were registered, they do not match"
        )
    if same:
        return notes
    covered = overlap(grid.values.shape, grid.affine, other.values.shape, other.affine)
    if not covered:
        raise InputError(
            f"{volumes[0].name} and {volumes[1].name} have no part of space in common: they are of "
            "other regions or frames of reference; register them first."
        )
    names = ("first", "second")
    notes.append(f"the {names[1 - fixed]} volume is resampled onto the grid of the {names[fixed]}")
    if covered < _SCATTERED:
        notes.append(
            f"the {names[1 - fixed]} volume covers {covered:.0%} of that grid; the rest is the "
            f"{names[fixed]} alone"
        )
    ratio = float(np.prod(grid.spacing) / np.prod(other.spacing)) ** (1 / 3)
    if ratio > _COARSE:
        notes.append(
            f"that grid is {ratio:.1f} times coarser than the {names[1 - fixed]} volume, whose "
            "detail is lost: resampling onto the other grid keeps it"
        )
    return notes


def _on_one_grid(first: Volume, second: Volume) -> bool:
    """Whether voxels match by number; so do those of equal grids of which one lies nowhere."""
    shapes = first.values.shape, second.values.shape
    if first.placed and second.placed:
        return same_grid(shapes, (first.affine, second.affine))
    return shapes[0] == shapes[1] and np.allclose(first.spacing, second.spacing, rtol=1e-3)


def _differ(one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Whether identifiers differ; issuers count only where both are known."""
    return one[0] != other[0] or bool(one[1] and other[1] and one[1] != other[1])


def _tensor(values: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values))[None]
