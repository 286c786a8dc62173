"""Synthetic DICOM series and NIfTI files for tests."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    generate_uid,
)

SECRET = "Secret^Person"
IDENTIFIER = "ID77-4711"
FRAME = generate_uid(entropy_srcs=["frame"])
STUDY = generate_uid(entropy_srcs=["study"])
CLASSES = {"CT": CTImageStorage, "MR": MRImageStorage, "PT": PositronEmissionTomographyImageStorage}

Edit = Callable[[pydicom.Dataset, int], None]
Values = NDArray[Any]


def grid(spacing: Sequence[float], origin: Sequence[float], turn: float = 0.0) -> Values:
    """Affine (RAS) of a scan with columns to the left and rows to the back, turned by degrees."""
    angle = np.radians(turn)
    rotation = np.eye(3)
    rotation[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag([-1.0, -1.0, 1.0]) * spacing
    affine[:3, 3] = origin
    return affine


def scene(shape: Sequence[int], affine: Values) -> Values:
    """A smooth scene in space, sampled on a grid: the same wherever it is sampled."""
    numbers = np.indices(shape).reshape(3, -1)
    x, y, z = affine[:3, :3] @ numbers + affine[:3, 3:]
    values = 500 + 300 * np.sin(x / 9) * np.cos(y / 7) + 8 * z
    return np.asarray(values.reshape(shape).round())


def write_series(
    folder: Path,
    values: Values,
    affine: Values,
    modality: str = "MR",
    *,
    number: int = 1,
    slopes: bool = False,
    edit: Edit = lambda dataset, place: None,
    compress: str | None = None,
) -> list[Path]:
    """Write one file per slice, in shuffled order of their numbers.

    Args:
        folder: where.
        values: (columns, rows, slices).
        affine: RAS.
        modality: CT and MR are signed, PT is not.
        number: of the series.
        slopes: rescale every slice by its own slope, instead of storing whole values.
        edit: changes the dataset of a slice before it is written.
        compress: UID of a transfer syntax that pydicom encodes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    series = generate_uid()
    order = np.random.default_rng(0).permutation(values.shape[2])
    paths = []
    for place in range(values.shape[2]):
        dataset = _slice(values[:, :, place], affine, place, modality, slopes)
        dataset.SeriesInstanceUID, dataset.SeriesNumber = series, number
        dataset.InstanceNumber = int(order[place]) + 1
        edit(dataset, place)
        if compress:
            dataset.compress(compress, generate_instance_uid=False)
        paths.append(folder / f"{SECRET}_{number}_{order[place]:03d}")
        dataset.save_as(paths[-1], enforce_file_format=True)
    return paths


def _slice(
    values: Values, affine: Values, place: int, modality: str, slopes: bool
) -> pydicom.Dataset:
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = CLASSES[modality], generate_uid()
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = (
        SECRET,
        IDENTIFIER,
        "19600101",
    )
    dataset.PatientSex, dataset.PatientWeight, dataset.InstitutionName = "F", 70, "Secret Hospital"
    dataset.StudyInstanceUID, dataset.FrameOfReferenceUID = STUDY, FRAME
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20250102", "101010", "1"
    dataset.Modality = modality
    widths = np.linalg.norm(lps[:3, :3], axis=0)
    turn = lps[:3, :2] / widths[:2]
    dataset.ImageOrientationPatient = [round(float(value), 12) for value in turn.T.ravel()]
    position = lps[:3, 3] + place * lps[:3, 2]
    dataset.ImagePositionPatient = [round(float(value), 9) for value in position]
    dataset.PixelSpacing = [float(widths[1]), float(widths[0])]
    dataset.SliceThickness = float(widths[2])
    dataset.Columns, dataset.Rows = values.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 0 if modality == "PT" else 1
    stored = values.T
    if slopes:
        dataset.RescaleSlope = f"{float(values.max()) / (30000 + 100 * place):.9g}"
        dataset.RescaleIntercept = "0"
        stored = stored / float(dataset.RescaleSlope)
    kind = "<u2" if modality == "PT" else "<i2"
    dataset.PixelData = np.round(stored).astype(kind).tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset


def inject(dataset: pydicom.Dataset, place: int = 0) -> None:
    """What SUV needs: 370 MBq, 70 kg, a half-life of 6586.2 s, 4200 s before the scan."""
    dose = pydicom.Dataset()
    dose.RadionuclideTotalDose, dose.RadionuclideHalfLife = 370e6, 6586.2
    dose.RadiopharmaceuticalStartTime = "090010"
    dataset.RadiopharmaceuticalInformationSequence = pydicom.Sequence([dose])
    dataset.Units, dataset.DecayCorrection, dataset.CorrectedImage = (
        "BQML",
        "START",
        ["ATTN", "DECY"],
    )
    dataset.SeriesDate = dataset.AcquisitionDate = "20250102"
    dataset.SeriesTime = "101010"
    dataset.AcquisitionTime = f"10{10 + place:02d}10"


def enhanced(series: Sequence[Path], path: Path) -> Path:
    """One multi-frame file of the slices of a series, in the layout of enhanced MR and CT."""
    slices = [pydicom.dcmread(each) for each in series]
    slices.sort(key=lambda each: int(each.InstanceNumber))
    whole = pydicom.dcmread(series[0])
    shared, frames = pydicom.Dataset(), []
    orientation, measures = pydicom.Dataset(), pydicom.Dataset()
    orientation.ImageOrientationPatient = whole.ImageOrientationPatient
    measures.PixelSpacing, measures.SliceThickness = whole.PixelSpacing, whole.SliceThickness
    shared.PlaneOrientationSequence = pydicom.Sequence([orientation])
    shared.PixelMeasuresSequence = pydicom.Sequence([measures])
    for each in slices:
        frame, position, scale = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
        position.ImagePositionPatient = each.ImagePositionPatient
        scale.RescaleSlope, scale.RescaleIntercept = each.get("RescaleSlope", 1), 0
        frame.PlanePositionSequence = pydicom.Sequence([position])
        frame.PixelValueTransformationSequence = pydicom.Sequence([scale])
        frames.append(frame)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        del whole[keyword]
    if "RescaleSlope" in whole:
        del whole["RescaleSlope"], whole["RescaleIntercept"]
    whole.SharedFunctionalGroupsSequence = pydicom.Sequence([shared])
    whole.PerFrameFunctionalGroupsSequence = pydicom.Sequence(frames)
    whole.NumberOfFrames = len(frames)
    whole.PixelData = b"".join(each.PixelData for each in slices)
    path.parent.mkdir(parents=True, exist_ok=True)
    whole.save_as(path, enforce_file_format=True)
    return path


def write_nifti(path: Path, values: Values, affine: Values | None) -> Path:
    """A NIfTI file; without an affine it says not where it lies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(values, affine)  # type: ignore[no-untyped-call]
    nibabel.save(image, path)
    return path
