"""Results as DICOM Secondary Capture, one file per slice, in the study of the sources."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from cddfuse.errors import InputError
from cddfuse.io.files import replacing
from cddfuse.io.images import quantize
from cddfuse.io.metadata import Metadata
from cddfuse.io.source import PlainSink
from cddfuse.io.volumes.finding import is_dicom
from cddfuse.io.volumes.options import VolumeWriting
from cddfuse.io.volumes.pair import VolumePair
from cddfuse.io.volumes.quiet import no_values_shown

RESEARCH = "Research use, not for diagnosis"
_MANUFACTURER = "cddfuse"
_SQUARE = 1e-3  # largest cosine between rows and columns
_RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])
_EMPTY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate"),
    *("StudyTime", "AccessionNumber", "ReferringPhysicianName"),
)


@dataclass(frozen=True)
class SecondaryCaptures(PlainSink):
    """A new series: RGB of 8 bits, or MONOCHROME2 of 8 bits where there is no colour.

    A folder that was left unfinished is completed as the same series.
    """

    source: VolumePair
    path: Callable[[str], Path]
    """The file of a slice, by its name."""

    writing: VolumeWriting
    overwrite: bool
    common: Any = field(repr=False)
    """A `pydicom.Dataset` of what all slices share: patient, study, series."""

    @classmethod
    def prepared(
        cls,
        source: VolumePair,
        path: Callable[[str], Path],
        writing: VolumeWriting,
        *,
        overwrite: bool,
    ) -> "SecondaryCaptures":
        """Refuse a folder with other DICOM files, and take up the series of an unfinished one."""
        columns, rows = (source.affine[:3, place] for place in (0, 1))
        if abs(columns @ rows) > _SQUARE * np.linalg.norm(columns) * np.linalg.norm(rows):
            raise InputError(
                f"slices along this axis of {source.grid.name} have slanted pixels (tilted "
                "gantry), which DICOM cannot hold: choose another axis, or NIfTI.",
                "axis",
            )
        common = _common(source, writing)
        paths = [path(source.name(number)) for number in source.numbers]
        folder = paths[0].parent
        existing = _dicom_files(folder)
        others = set(existing) - set(paths) or not all(map(_is_result, existing))
        if others or (existing and not overwrite and _adopt(existing, common)):
            raise InputError(
                f"{folder} holds other DICOM files, or results with other settings: choose another "
                "folder, or remove them.",
                "output",
            )
        return cls(source, path, writing, overwrite, common)

    def has(self, name: str) -> bool:
        """Whether the file exists and is to be kept."""
        return not self.overwrite and os.path.isfile(self.path(name))

    def write(self, name: str, image: Tensor, metadata: Metadata) -> bool:
        """Write a fused slice (1, H, W) in [0, 1]."""
        number = int(name)
        pixels = quantize(self.source.finished(number, image, self.writing))
        with no_values_shown():
            dataset = self._dataset(number, pixels)
            with replacing(self.path(name)) as temporary:
                dataset.save_as(temporary, enforce_file_format=True)
        return True

    def _dataset(self, number: int, pixels: Any) -> Any:
        import pydicom
        from pydicom.uid import ExplicitVRLittleEndian, generate_uid

        dataset = pydicom.Dataset(self.common)
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPInstanceUID = generate_uid(prefix=None)
        dataset.InstanceNumber = self.source.numbers.index(number) + 1
        _place(dataset, self.source, number)
        _refer(dataset, self.source, number)
        colour = pixels.ndim == 3
        dataset.SamplesPerPixel = 3 if colour else 1
        dataset.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
        if colour:
            dataset.PlanarConfiguration = 0
        dataset.Rows, dataset.Columns = pixels.shape[:2]
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit, dataset.PixelRepresentation = 7, 0
        dataset.PixelData = pixels.tobytes() + b"\0" * (pixels.size % 2)
        dataset["PixelData"].VR = "OB"
        return dataset


def _common(source: VolumePair, writing: VolumeWriting) -> Any:
    """What all slices share. UIDs are new but for that of the study."""
    import pydicom
    from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

    dataset = pydicom.Dataset()
    with no_values_shown():
        headers = [volume.header for volume in source.volumes if volume.header is not None]
        for element in headers[0] if headers and not source.anonymous else ():
            dataset[element.tag] = element
        for keyword in _EMPTY:
            if keyword not in dataset:
                setattr(dataset, keyword, "")
    if not dataset.get("StudyInstanceUID"):
        dataset.StudyInstanceUID = generate_uid(prefix=None)
    frame = source.grid.frame_of_reference
    dataset.FrameOfReferenceUID = (
        frame if frame and not source.anonymous else generate_uid(prefix=None)
    )
    dataset.PositionReferenceIndicator = ""
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SeriesInstanceUID = generate_uid(prefix=None)
    dataset.Modality, dataset.ConversionType = "OT", "WSD"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.BurnedInAnnotation = "NO"
    dataset.Manufacturer = _MANUFACTURER
    dataset.SeriesNumber = 9000
    dataset.SeriesDescription = f"Fused. {RESEARCH}"
    dataset.DerivationDescription = _description(source, writing)
    now = datetime.now()
    dataset.SeriesDate = dataset.ContentDate = now.strftime("%Y%m%d")
    dataset.SeriesTime = dataset.ContentTime = now.strftime("%H%M%S")
    return dataset


def _description(source: VolumePair, writing: VolumeWriting) -> str:
    """How the values came about; it tells results of other settings apart. No paths, no names."""
    kinds = " and ".join(volume.modality or "NIfTI" for volume in source.volumes)
    values = ", ".join(source.ranges.texts)
    numbers = source.numbers
    colours = f"{source.colour_map(writing)} by {writing.colour_by}"
    return (
        f"{RESEARCH}. Fusion of {kinds} by cddfuse; value range {values}; colours {colours}; axis "
        f"{source.plane.axis}, slices {numbers.start}:{numbers.stop}:{numbers.step}"
    )


def _dicom_files(folder: Path) -> list[Path]:
    """Those of a folder, by their name or content, that are not hidden."""
    files = sorted(folder.glob("[!.]*")) if os.path.isdir(folder) else []
    return [file for file in files if file.suffix.lower() == ".dcm" or is_dicom(file)]


def _is_result(path: Path) -> bool:
    """Whether a file is of this program, and not one of a patient that cannot be made again."""
    import pydicom

    with no_values_shown():
        try:
            header = pydicom.dcmread(path, specific_tags=["Manufacturer"], stop_before_pixels=True)
            return bool(header.get("Manufacturer") == _MANUFACTURER)
        except Exception:  # another program's file, or a damaged one
            return False


def _adopt(existing: list[Path], common: Any) -> bool:
    """Take up study and series of files of an earlier run; True if they are of another result."""
    import pydicom

    with no_values_shown():
        try:
            before = pydicom.dcmread(existing[0], stop_before_pixels=True)
            study = common.StudyInstanceUID if common.PatientID else before.StudyInstanceUID
            same = (before.Manufacturer, before.DerivationDescription, before.StudyInstanceUID) == (
                _MANUFACTURER,
                common.DerivationDescription,
                study,
            )
            for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
                setattr(common, keyword, before[keyword].value)
        except Exception:  # another program's file, or a damaged one
            return True
    return not same


def _place(dataset: Any, source: VolumePair, number: int) -> None:
    """Position, directions and distances of the pixels, LPS."""
    affine = source.affine
    columns, rows = (_RAS_TO_LPS * affine[:3, place] for place in (0, 1))
    position = _RAS_TO_LPS * (affine[:3, 3] + number * affine[:3, 2])
    widths = [float(np.linalg.norm(direction)) for direction in (rows, columns)]
    dataset.ImagePositionPatient = [_decimal(value) for value in position]
    dataset.ImageOrientationPatient = [
        _decimal(value) for value in (*(columns / widths[1]), *(rows / widths[0]))
    ]
    dataset.PixelSpacing = [_decimal(value) for value in widths]
    normal = np.cross(columns / widths[1], rows / widths[0])
    step = abs(float(_RAS_TO_LPS * affine[:3, 2] @ normal)) * source.numbers.step
    dataset.SpacingBetweenSlices = dataset.SliceThickness = _decimal(step)
    dataset.PatientOrientation = [_letters(direction) for direction in (columns, rows)]


def _refer(dataset: Any, source: VolumePair, number: int) -> None:
    """Name the slice of the grid's series, where there is one."""
    import pydicom

    instances = source.grid.instances
    if source.anonymous or source.plane.axis != 2 or number >= len(instances):
        return
    item = pydicom.Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = instances[number]
    dataset.SourceImageSequence = pydicom.Sequence([item])


def _letters(direction: np.ndarray[Any, np.dtype[np.float64]]) -> str:
    """Where a direction (LPS) leads, such as LP: its largest parts first."""
    names = ("RL", "AP", "FH")
    order = sorted(range(3), key=lambda axis: -abs(direction[axis]))
    large = [axis for axis in order if abs(direction[axis]) > 0.1 * np.linalg.norm(direction)]
    return "".join(names[axis][int(direction[axis] > 0)] for axis in large)


def _decimal(value: float) -> str:
    """A number as DICOM stores it, in at most 16 characters."""
    for digits in range(15, 7, -1):
        text = f"{float(value) + 0.0:.{digits}g}"
        if len(text) <= 16:
            return text
    return f"{float(value):.7g}"
