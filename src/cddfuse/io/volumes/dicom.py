"""DICOM series, by pydicom: find, group, sort, and read them as volumes.

Messages say a series by number and modality. They hold no other value of a header and no name of a
file in a folder, which are often those of patients.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cddfuse.errors import InputError
from cddfuse.io.volumes.dicom_frames import Frame, frames_of
from cddfuse.io.volumes.dicom_pixels import stored_frames
from cddfuse.io.volumes.finding import dicom_files
from cddfuse.io.volumes.quiet import no_values_shown
from cddfuse.io.volumes.suv import uptake_of
from cddfuse.io.volumes.volume import Affine, Volume, extra, places, require_memory

INHERITED = (
    *("SpecificCharacterSet", "PatientName", "PatientID", "IssuerOfPatientID"),
    *("PatientBirthDate", "PatientSex", "PatientAge", "PatientSize", "PatientWeight"),
    *("StudyInstanceUID", "StudyID", "StudyDate", "StudyTime", "AccessionNumber"),
    *("ReferringPhysicianName", "StudyDescription"),
)
"""What keeps a result with its study. Institutions, operators and private tags stay behind."""

_GEOMETRY = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "Modality"),
    *("ImageType", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel"),
    *("PhotometricInterpretation", "ImagePositionPatient", "ImageOrientationPatient"),
    *("PixelSpacing", "SliceThickness", "SpacingBetweenSlices", "RescaleSlope"),
    *("RescaleIntercept", "FrameOfReferenceUID", "PerFrameFunctionalGroupsSequence"),
    *("SharedFunctionalGroupsSequence", "DetectorInformationSequence", "AcquisitionDate"),
    *("AcquisitionTime", "SpecificCharacterSet", "ModalityLUTSequence"),
)
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_PARALLEL = 1e-3  # largest difference of direction cosines
_EVEN = (0.02, 0.01)  # largest difference of gaps: share, and millimetres


@dataclass
class Series:
    """Files of one series with their headers."""

    files: list[Path] = field(default_factory=list)
    headers: list[Any] = field(default_factory=list)

    @property
    def number(self) -> str:
        """Its number in the study, or none."""
        number = self.headers[0].get("SeriesNumber", None)
        return "none" if number in (None, "") else str(number)

    @property
    def modality(self) -> str:
        """CT, MR, PT, NM and others."""
        return str(self.headers[0].get("Modality", "") or "")

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"series {self.number} ({self.modality or 'unknown modality'})"

    @property
    def length(self) -> int:
        """Number of slices."""
        return sum(int(header.get("NumberOfFrames", 1) or 1) for header in self.headers)


@dataclass(frozen=True)
class Found:
    """What a folder holds."""

    series: list[Series]
    damaged: int
    """DICOM files that could not be read, and others that are named as such."""

    closed: int = 0
    """Subfolders that cannot be opened."""


def find_series(path: Path, leave_out: Sequence[Path] = ()) -> Found:
    """The series of a folder and its subfolders, or of one file, that have pixels.

    Args:
        path: where to look.
        leave_out: folders that are ignored, such as that of the results.
    """
    with extra():
        import pydicom
    found: dict[str, Series] = {}
    files, damaged, closed = dicom_files(path, leave_out)
    with no_values_shown():
        for file in files:
            try:
                header = pydicom.dcmread(
                    file, stop_before_pixels=True, force=True, specific_tags=list(_GEOMETRY)
                )
                key = str(header.get("SeriesInstanceUID", ""))
                pixels = int(header.get("Rows", 0) or 0) and int(header.get("Columns", 0) or 0)
                alone = Series([file], [header])
                _ = alone.number, alone.modality, alone.length  # decoded here, or never
                empty = _lacks_pixels(header)
            except Exception:  # of a damaged file; what pydicom raises quotes values
                damaged += 1
                continue
            if pixels:
                series = found.setdefault(key, Series())
                series.files += alone.files
                series.headers += alone.headers
            else:
                damaged += empty
    if not found:
        why = f", and {damaged} damaged ones" if damaged else ""
        raise InputError(f"{path} holds no DICOM images{why}: check what it is.")
    return Found(sorted(found.values(), key=_order), damaged, closed)


def read_series(series: Series, place: Path) -> Volume:
    """A series as one volume: slices sorted by position, values rescaled slice by slice."""
    name = f"{series.label} of {place}"
    with no_values_shown() as malformed:
        try:
            volume = replace(_read(series, name, malformed), files=(place, *series.files))
        except InputError:
            raise
        except MemoryError:
            raise InputError(f"{name} does not fit in memory: cut out the part you need.") from None
        except Exception:  # what pydicom raises quotes values
            raise InputError(
                f"{name} has headers that are malformed: export the series again, or convert it to "
                "NIfTI."
            ) from None
    if not malformed:
        return volume
    count = malformed.total()
    entries = "1 irregular entry" if count == 1 else f"{count} irregular entries"
    kinds = ", ".join(sorted(kind for kind in malformed if kind))
    note = f"{name}: {entries} in its files" + (f" (VR {kinds})" if kinds else "")
    return replace(volume, notes=(*volume.notes, note))


def _read(series: Series, name: str, malformed: Counter[str]) -> Volume:
    import pydicom

    series, dropped = _without_localizers(series)
    _require_scalar(series, name)
    frames = [
        frame
        for path, header in zip(series.files, series.headers, strict=True)
        for frame in frames_of(path, header, name)
    ]
    frames, affine, tilt = _sorted(frames, series.headers[0], name)
    head = series.headers[0]
    require_memory((int(head.Columns), int(head.Rows), len(frames)), name)
    whole = pydicom.dcmread(frames[0].file, stop_before_pixels=True, force=True)
    header = _inherited(whole, malformed)
    patient, issuer = (str(header.get(key, "")) for key in ("PatientID", "IssuerOfPatientID"))
    notes = [f"{name}: {dropped} localizer images are left out"] if dropped else []
    if tilt:
        notes.append(f"{name}: the gantry is tilted by {tilt:.1f} degrees, which the grid keeps")
    return Volume(
        _values(frames, whole, name),
        affine,
        name,
        modality=series.modality,
        inverted=head.get("PhotometricInterpretation") == "MONOCHROME1",
        window=_window(whole),
        uptake=uptake_of(whole, series.headers),
        frame_of_reference=str(head.get("FrameOfReferenceUID", "") or ""),
        patient=(patient, issuer) if patient else None,
        header=header,
        instances=tuple(frame.instance for frame in frames),
        notes=tuple(notes),
    )


def _inherited(whole: Any, malformed: Counter[str]) -> Any:
    """Patient and study of a header, without what cannot be read."""
    import pydicom

    header = pydicom.Dataset()
    for keyword in INHERITED:
        if keyword in whole:
            try:
                header[keyword] = whole[keyword]
            except Exception:  # such as a weight with its unit
                malformed[pydicom.datadict.dictionary_VR(keyword)] += 1
    return header


def _lacks_pixels(header: Any) -> bool:
    """Whether a file without a size was cut short; reports and lists (DICOMDIR) have none."""
    from pydicom.uid import UID

    kind = header.get("SOPClassUID", None) or header.file_meta.get("MediaStorageSOPClassUID", "")
    name = UID(str(kind)).name
    return "Image Storage" in name or ("SOPInstanceUID" not in header and "Directory" not in name)


def _order(series: Series) -> tuple[int, str]:
    number = series.number
    return (int(number) if number.removeprefix("-").isdecimal() else 1 << 31, number)


def _without_localizers(series: Series) -> tuple[Series, int]:
    kept = [
        (file, header)
        for file, header in zip(series.files, series.headers, strict=True)
        if "LOCALIZER" not in (header.get("ImageType", None) or ())
    ]
    if not kept or len(kept) == len(series.files):
        return series, 0
    files, headers = zip(*kept, strict=True)
    return Series(list(files), list(headers)), len(series.files) - len(kept)


def _require_scalar(series: Series, name: str) -> None:
    for header in series.headers:
        if int(header.get("SamplesPerPixel", 1) or 1) != 1 or not str(
            header.get("PhotometricInterpretation", "MONOCHROME2")
        ).startswith("MONOCHROME"):
            raise InputError(f"{name} holds colour pictures: fuse scalar values, before colouring.")
        if "ModalityLUTSequence" in header:
            raise InputError(
                f"{name} has values by a table (Modality LUT), which is not read: convert it to "
                "NIfTI first."
            )
    sizes = {(int(header.Rows), int(header.Columns)) for header in series.headers}
    if len(sizes) > 1:
        raise InputError(
            f"{name} holds slices of {len(sizes)} sizes: put those that belong together in a "
            "folder of their own."
        )


def _sorted(frames: list[Frame], header: Any, name: str) -> tuple[list[Frame], Affine, float]:
    """Frames in order of position, their affine, and the tilt of the gantry in degrees."""
    turn, spacing = frames[0].orientation, frames[0].spacing
    own = "put those that belong together in a folder of their own"
    for frame in frames:
        if np.abs(frame.orientation - turn).max() > _PARALLEL:
            raise InputError(f"{name} holds slices of several orientations: {own}.")
        if not np.allclose(frame.spacing, spacing, rtol=1e-3):
            raise InputError(f"{name} holds slices of several pixel spacings: {own}.")
    normal = np.cross(turn[:3], turn[3:])
    frames = sorted(frames, key=lambda frame: float(frame.position @ normal))
    positions = np.array([frame.position for frame in frames])
    step, tilt = _step(positions, normal, header, name)
    affine = np.eye(4)
    affine[:3, 0] = turn[:3] * spacing[1]
    affine[:3, 1] = turn[3:] * spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = positions[0]
    if not places(affine):
        raise InputError(f"{name} has no usable geometry: its voxels lie nowhere. Export it again.")
    return frames, _LPS_TO_RAS @ affine, tilt


def _step(
    positions: NDArray[np.float64], normal: NDArray[np.float64], header: Any, name: str
) -> tuple[NDArray[np.float64], float]:
    """The way from one slice to the next, and its angle to the normal in degrees."""
    count = len(positions)
    if count == 1:
        thickness = header.get("SpacingBetweenSlices", None) or header.get("SliceThickness", None)
        return normal * (abs(float(thickness or 0)) or 1.0), 0.0
    gaps = np.diff(positions @ normal)
    usual = float(np.median(gaps))
    twice = int((gaps < 1e-3 * max(usual, 1e-9)).sum()) if usual > 0 else count - 1
    if twice:
        slices = "1 slice" if twice == 1 else f"{twice} slices"
        raise InputError(
            f"{name} holds {slices} twice, or several points in time or echoes: leave one of each "
            "position in the folder."
        )
    if np.abs(gaps - usual).max() > _EVEN[0] * usual + _EVEN[1]:
        missing = int(np.round(gaps / usual - 1).clip(min=0).sum())
        what = f": {missing} missing" if missing else ""
        raise InputError(
            f"{name} has uneven gaps {gaps.min():.2f}..{gaps.max():.2f} mm between its slices"
            f"{what}; export the series again, or cut it where the gap changes."
        )
    step = (positions[-1] - positions[0]) / (count - 1)
    line = positions[0] + np.arange(count)[:, None] * step
    if np.abs(positions - line).max() > _EVEN[0] * usual + 0.1:
        raise InputError(f"the slices of {name} do not lie on one line: convert it to NIfTI first.")
    cosine = abs(step @ normal) / np.linalg.norm(step)
    tilt = float(np.degrees(np.arccos(min(1.0, cosine))))
    return step, tilt if tilt > 0.5 else 0.0


def _values(frames: list[Frame], header: Any, name: str) -> NDArray[np.float32]:
    """Rescaled values (columns, rows, slices); padding is NaN."""
    size = (len(frames), int(header.Rows), int(header.Columns))
    values = np.empty(size, np.float32)
    places = {(frame.file, frame.number): place for place, frame in enumerate(frames)}
    ordered = sorted(frames, key=lambda frame: (frame.file, frame.number))
    padding = _padding(header)
    for file, group in groupby(ordered, key=lambda frame: frame.file):
        part = list(group)
        slices = f"slice {places[file, part[0].number]} of {name}"
        stored = stored_frames(file, [frame.number for frame in part], slices)
        for frame, pixels in zip(part, stored, strict=True):
            if pixels.shape != size[1:]:
                raise InputError(f"{slices} is damaged: export the series again.")
            place = values[places[file, frame.number]]
            np.multiply(pixels, frame.slope, out=place, casting="unsafe")
            place += np.float32(frame.intercept)
            if padding:
                place[(pixels >= padding[0]) & (pixels <= padding[1])] = np.nan
            place[~np.isfinite(place)] = np.nan  # of stored floats
    return values.transpose(2, 1, 0)


def _padding(header: Any) -> tuple[int, int] | None:
    """Stored values that mean that nothing was measured: lowest and highest."""
    value = header.get("PixelPaddingValue", None)
    if value is None:
        return None
    limits = [int(value), int(header.get("PixelPaddingRangeLimit", value))]
    if int(header.PixelRepresentation) == 1:  # some write a signed one as if it had no sign
        whole = 1 << int(header.BitsAllocated)
        limits = [limit - whole if limit >= whole // 2 else limit for limit in limits]
    return min(limits), max(limits)


def _window(header: Any) -> tuple[float, float] | None:
    """Level and width of the first window in the header."""
    try:
        level, width = (
            float(np.atleast_1d(header.get(keyword))[0])
            for keyword in ("WindowCenter", "WindowWidth")
        )
    except (TypeError, ValueError, IndexError):
        return None
    return (level, width) if np.isfinite([level, width]).all() and width > 0 else None
