"""Where each frame of a DICOM file lies, and how its stored values are scaled.

Three layouts: one slice per file, enhanced multi-frame files, and SPECT (NM), whose geometry is
that of the first frame.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cddfuse.errors import InputError

_NM = "1.2.840.10008.5.1.4.1.1.20"


class Frame(NamedTuple):
    """One slice."""

    file: Path
    """Never shown: names of files are often names of patients."""

    number: int
    """Number within the file."""

    position: NDArray[np.float64]
    """Of the first pixel in millimetres, LPS."""

    orientation: NDArray[np.float64]
    """Direction of columns (along a row), then of rows (down a column)."""

    spacing: tuple[float, float]
    """Distance of rows, then of columns, in millimetres."""

    slope: float
    intercept: float
    instance: tuple[str, str]
    """SOP class and instance of the file."""


def frames_of(path: Path, header: Any, name: str) -> list[Frame]:
    """The frames of a file.

    Args:
        path: the file.
        header: its dataset, without pixels.
        name: what errors call the series.
    """
    try:
        if header.get("PerFrameFunctionalGroupsSequence"):
            count = len(header.PerFrameFunctionalGroupsSequence)
            return [_enhanced(path, header, index) for index in range(count)]
        if int(header.get("NumberOfFrames", 1) or 1) > 1 or header.get("SOPClassUID") == _NM:
            return _spect(path, header)
        return [_frame(path, 0, header, header, header, header, header)]
    except (AttributeError, KeyError, IndexError, TypeError, ValueError):
        raise InputError(
            f"{name} does not say where its slices lie (position, orientation, pixel spacing): "
            "export the original series, or convert it to NIfTI."
        ) from None


def _frame(
    path: Path, index: int, header: Any, position: Any, orientation: Any, spacing: Any, scale: Any
) -> Frame:
    rows, columns = (float(value) for value in spacing.PixelSpacing)
    place = np.array([float(value) for value in position.ImagePositionPatient])
    turn = np.array([float(value) for value in orientation.ImageOrientationPatient])
    slope, intercept = (
        float(default if scale.get(keyword, None) in (None, "") else scale.get(keyword))
        for keyword, default in (("RescaleSlope", 1), ("RescaleIntercept", 0))
    )
    numbers = np.array([*place, *turn, rows, columns, slope, intercept])
    if place.shape != (3,) or turn.shape != (6,) or not np.isfinite(numbers).all():
        raise ValueError("geometry")
    if min(rows, columns) <= 0 or not slope or abs(np.linalg.norm(turn) ** 2 - 2) > 0.01:
        raise ValueError("geometry")
    instance = (str(header.SOPClassUID), str(header.SOPInstanceUID))
    return Frame(path, index, place, turn, (rows, columns), slope, intercept, instance)


def _enhanced(path: Path, header: Any, index: int) -> Frame:
    own = header.PerFrameFunctionalGroupsSequence[index]
    shared = (header.get("SharedFunctionalGroupsSequence") or [{}])[0]

    def group(name: str, default: Any = None) -> Any:
        found = own.get(name) or shared.get(name)
        return found[0] if found else default

    return _frame(
        path,
        index,
        header,
        group("PlanePositionSequence"),
        group("PlaneOrientationSequence"),
        group("PixelMeasuresSequence"),
        group("PixelValueTransformationSequence", {}),
    )


def _spect(path: Path, header: Any) -> list[Frame]:
    """Frames at equal distances from the first, along the normal."""
    detector = header.DetectorInformationSequence[0]
    first = _frame(path, 0, header, detector, detector, header, header)
    step = float(header.get("SpacingBetweenSlices", None) or header.SliceThickness)
    normal = np.cross(first.orientation[:3], first.orientation[3:])
    count = int(header.get("NumberOfFrames", 1) or 1)
    return [
        first._replace(number=index, position=first.position + index * step * normal)
        for index in range(count)
    ]
