"""Where fused slices go: NIfTI, a series of DICOM, a montage, or image files."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from cddfuse.errors import InputError, exists_already
from cddfuse.io.encode import encoded, output_format
from cddfuse.io.files import replacing
from cddfuse.io.image_files import ImageFiles
from cddfuse.io.images import quantize
from cddfuse.io.metadata import Metadata
from cddfuse.io.sheet import contact_sheet
from cddfuse.io.source import PlainSink
from cddfuse.io.volumes.nifti import SUFFIXES, write_nifti
from cddfuse.io.volumes.options import VolumeWriting
from cddfuse.io.volumes.pair import VolumePair
from cddfuse.io.volumes.secondary import SecondaryCaptures
from cddfuse.io.volumes.volume import Affine

_MOST_ROWS = 24  # of a montage

Bits = Literal[8, 16] | None


@dataclass
class WholeFile(PlainSink):
    """A result in one file, which is written when all slices are there."""

    source: VolumePair
    output: Path
    writing: VolumeWriting
    written: set[str] = field(default_factory=set)

    def path(self, name: str) -> Path:
        """The file, whatever the slice."""
        return self.output

    def has(self, name: str) -> bool:
        """Never: the file is written as a whole."""
        return False

    def write(self, name: str, image: Tensor, metadata: Metadata) -> bool:
        """Take up a fused slice (1, H, W) in [0, 1]."""
        self.take(int(name), self.source.finished(int(name), image, self.writing))
        self.written.add(name)
        return True

    def close(self) -> None:
        """Write the file, if no slice is missing."""
        missing = [n for n in self.source.numbers if self.source.name(n) not in self.written]
        if missing:
            raise InputError(
                f"{len(missing)} of {self.source.length} slices could not be fused, the first is "
                f"{missing[0]}: {self.output} was not written; fuse that slice alone to see why.",
                "slices",
            )
        self.save()

    def take(self, number: int, image: Tensor) -> None:
        """Take up the result of a slice."""
        raise NotImplementedError

    def save(self) -> None:
        """Write the file atomically."""
        raise NotImplementedError


@dataclass
class NiftiFile(WholeFile):
    """A volume on the grid of the source: scalars in [0, 1], or colours."""

    bits: Bits = None
    """None is float32 in [0, 1]; 8 and 16 are unsigned integers of the full range."""

    values: NDArray[Any] | None = field(default=None, repr=False)

    def take(self, number: int, image: Tensor) -> None:
        """Put a slice where it belongs in the grid."""
        levels = image if self.bits is None and len(image) == 1 else None
        pixels = image[0].numpy() if levels is not None else quantize(image, self._depth(image))
        if self.values is None:
            shape = list(self.source.grid.values.shape)
            shape[self.source.plane.axis] = self.source.length
            more = pixels.shape[2:]
            array = np.zeros((*shape[::-1], *more), pixels.dtype)  # the first axis is contiguous
            self.values = array.transpose(2, 1, 0, *range(3, 3 + len(more)))
        place = self.source.numbers.index(number)
        self.source.plane.view(self.values, place)[...] = pixels

    def save(self) -> None:
        """Write the file."""
        assert self.values is not None
        write_nifti(self.output, self.values, self._affine(), space=self.source.grid.space)

    def _depth(self, image: Tensor) -> Literal[8, 16]:
        return 8 if len(image) == 3 else self.bits or 8

    def _affine(self) -> Affine:
        """That of the grid, from the first slice that was chosen, in their steps."""
        axis, numbers = self.source.plane.axis, self.source.numbers
        affine = self.source.grid.affine.copy()
        affine[:3, 3] += numbers.start * affine[:3, axis]
        affine[:3, axis] *= numbers.step
        return affine


@dataclass
class Montage(WholeFile):
    """A picture with one row per slice: first, second and fused, in true proportions."""

    rows: dict[int, list[Tensor]] = field(default_factory=dict, repr=False)

    def take(self, number: int, image: Tensor) -> None:
        """Keep a row, scaled to square pixels."""
        first, second, _ = self.source.slices(number)
        self.rows[number] = [self._square(part) for part in (first, second, image)]

    def save(self) -> None:
        """Draw and write the picture."""
        names = [f"slice {number}" for number in self.rows]
        headings = ("first", "second", "fused")
        sheet = contact_sheet(list(self.rows.values()), headings=headings, names=names)
        form = output_format(self.output)
        data = encoded(np.asarray(sheet), form, self.output, Metadata())
        with replacing(self.output) as temporary:
            temporary.write_bytes(data)

    def _square(self, image: Tensor) -> Tensor:
        spacing, plane = self.source.grid.spacing, self.source.plane
        finest = min(spacing[plane.rows], spacing[plane.columns])
        size = [
            max(1, round(length * float(spacing[axis] / finest)))
            for length, axis in zip(image.shape[1:], (plane.rows, plane.columns), strict=True)
        ]
        if size == list(image.shape[1:]):
            return image
        return F.interpolate(image[None], size, mode="bilinear", align_corners=False)[0]


@dataclass(frozen=True)
class SliceFiles(PlainSink):
    """Slices as numbered image files, which resume."""

    source: VolumePair
    files: ImageFiles
    writing: VolumeWriting

    def path(self, name: str) -> Path:
        """The file of a slice."""
        return self.files.path(name)

    def has(self, name: str) -> bool:
        """Whether the file exists and is to be kept."""
        return self.files.has(name)

    def write(self, name: str, image: Tensor, metadata: Metadata) -> bool:
        """Write a fused slice (1, H, W) in [0, 1]; False if another program has done so."""
        finished = self.source.finished(int(name), image, self.writing)
        bits = replace(metadata, bits=16 if len(finished) == 1 else 8)
        return self.files.write(name, finished, bits)


def open_results(
    source: VolumePair,
    output: Path,
    writing: VolumeWriting,
    *,
    suffix: str,
    form: str,
    bits: Bits,
    overwrite: bool,
) -> "NiftiFile | Montage | SliceFiles | SecondaryCaptures":
    """The sink that an output names.

    Args:
        source: what is fused.
        output: .nii or .nii.gz, a picture for a montage, or a folder.
        writing: colours.
        suffix: added to names, before the dot.
        form: of files in a folder: dcm, or that of images.
        bits: per value; None is what the format is best at.
        overwrite: replace results that exist.
    """
    name = output.name.lower()
    if name.endswith((".dcm", ".dicom")) and not os.path.isdir(output):
        raise InputError(
            f"{output} would be one file, but DICOM results are series: give a folder, and choose "
            "the format dcm.",
            "format",
        )
    end = next((end for end in (*SUFFIXES[::-1], output.suffix.lower()) if name.endswith(end)), "")
    if os.path.isdir(output) or not end:
        return _in_folder(source, output, writing, suffix, form, bits, overwrite)
    file = output.with_name(
        output.name[: len(output.name) - len(end)] + suffix + output.name[-len(end) :]
    )
    _require_free(file, source, overwrite)
    if end in SUFFIXES:
        coloured = source.colour_map(writing) != "grey"
        if bits == 16 and coloured:
            raise InputError(f"{file} cannot hold colours of 16 bits: use 8, or grey.", "bits")
        return NiftiFile(source, file, writing, bits=bits)
    output_format(file)
    if bits == 16:
        raise InputError(f"{file} is a montage, which has 8 bits: leave out the bits.", "bits")
    if source.length > _MOST_ROWS:
        step = -(-source.length // _MOST_ROWS)
        first, last = source.numbers[0], source.numbers[-1] + 1
        raise InputError(
            f"{file} is a montage of up to {_MOST_ROWS} slices, not {source.length}: choose some, "
            f"such as {first}:{last}:{step * source.numbers.step}.",
            "slices",
        )
    return Montage(source, file, writing)


def _in_folder(
    source: VolumePair,
    output: Path,
    writing: VolumeWriting,
    suffix: str,
    form: str,
    bits: Bits,
    overwrite: bool,
) -> SliceFiles | SecondaryCaptures:
    if os.path.isdir(output) and any(os.path.samefile(output, each) for each in source.folders):
        raise InputError(f"{output} holds a source: choose another folder.", "output")
    path = _named(output, suffix, form)
    if form == "dcm":
        if bits == 16:
            raise InputError("secondary captures of DICOM have 8 bits: leave them out.", "bits")
        return SecondaryCaptures.prepared(source, path, writing, overwrite=overwrite)
    files = ImageFiles(path, bits=bits, overwrite=overwrite)
    files.prepare([])
    output_format(path("0000"), bits or 8)
    return SliceFiles(source, files, writing)


def _named(folder: Path, suffix: str, form: str) -> Callable[[str], Path]:
    return lambda name: folder / f"{name}{suffix}.{form}"


def _require_free(path: Path, source: VolumePair, overwrite: bool) -> None:
    sources = {os.path.realpath(file) for volume in source.volumes for file in volume.files}
    if os.path.realpath(path) in sources:
        raise InputError(f"{path} is a source: choose another name for the result.", "output")
    if os.path.isfile(path) and not overwrite:
        raise exists_already(path)
