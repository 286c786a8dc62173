"""Which files are DICOM: by their first bytes, as many have no suffix."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from cddfuse.io.decode import SUFFIXES as IMAGES

SUFFIXES = (".dcm", ".dicom", ".ima")
"""Usual ones of DICOM files, in lower case."""

_OTHERS = ("dicomdir", "readme", "license", "licence", "version", "makefile")
"""Names without a suffix of files that are no images."""

_SNIFFED = 64  # files that are opened at most before one of them is DICOM


class DicomFiles(NamedTuple):
    """The DICOM files of a folder, and what may be missing among them."""

    found: list[Path]
    lost: int
    """Files that are named as DICOM files are and do not begin as such: empty ones, pages of errors
    that were saved as slices, links to nowhere. Passing over one would cut a volume short."""

    closed: int
    """Subfolders that cannot be opened."""


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its first bytes; old ones lack the preamble."""
    if not os.path.isfile(path):  # opening a pipe waits
        return False
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except OSError:
        return False
    old = start[:2] in (b"\x08\0", b"\x02\0") and start[2:4] < b"\x20\0" and start[3:4] == b"\0"
    return start[128:132] == b"DICM" or (old and len(start) == 132)


def holds_dicom(path: Path) -> bool:
    """Whether a path is a DICOM file, or a folder with more of them than of images."""
    if not os.path.isdir(path):
        return os.path.isfile(path) and is_dicom(path)
    images, others = 0, []
    for file in _files(path, ()):
        if file.suffix.lower() in IMAGES:
            images += 1
        else:
            others.append(file)
    dicom = 0
    for place, file in enumerate(others):
        decided = dicom > images or dicom + len(others) - place <= images
        if decided or (place >= _SNIFFED and not dicom):
            break
        dicom += is_dicom(file)
    return dicom > images


def dicom_files(path: Path, leave_out: Sequence[Path] = ()) -> DicomFiles:
    """The DICOM files of a folder and its subfolders, or of one file.

    Args:
        path: where to look.
        leave_out: folders that are ignored, such as that of the results.
    """
    closed: list[OSError] = []
    files = list(_files(path, leave_out, closed.append)) if os.path.isdir(path) else [path]
    found = [file for file in files if is_dicom(file)]
    usual = {*SUFFIXES, "", *map(_suffix, found)}
    others = set(files).difference(found) if found else ()
    lost = sum(_suffix(file) in usual and file.name.lower() not in _OTHERS for file in others)
    return DicomFiles(found, lost, len(closed))


def _suffix(path: Path) -> str:
    """In lower case; empty for names that are numbers with dots, such as UIDs."""
    suffix = path.suffix.lower()
    return "" if suffix[1:].isdecimal() else suffix


def _files(
    folder: Path, leave_out: Sequence[Path], closed: Callable[[OSError], object] | None = None
) -> Iterator[Path]:
    """Files of a folder and its subfolders that are not hidden, in order of name.

    Args:
        folder: where to look.
        leave_out: folders that are ignored.
        closed: called with the reason for each folder that cannot be opened.
    """
    hidden = {os.path.realpath(path) for path in leave_out}
    for root, folders, files in os.walk(folder, onerror=closed):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and os.path.realpath(Path(root, name)) not in hidden
        )
        yield from (Path(root, name) for name in sorted(files) if not name.startswith("."))
