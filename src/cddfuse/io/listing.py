"""What a folder holds: images that can be read, and what looks like an image but cannot."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from cddfuse.errors import InputError
from cddfuse.io.decode import SUFFIXES
from cddfuse.io.names import natural

_IMAGES = frozenset(
    (
        *(suffix[1:] for suffix in SUFFIXES),
        *("apng", "avif", "avifs", "bmp", "bw", "cur", "dcx", "dds", "dib", "eps", "exr"),
        *("gif", "hdr", "heic", "heics", "heif", "heifs", "hif", "icns", "ico", "im", "j2c"),
        *("j2k", "jfif", "jif", "jng", "jp2", "jpc", "jpe", "jpeg", "jpf", "jpg", "jpm", "jpx"),
        *("jxl", "jxr", "mpo", "msp", "pam", "pbm", "pcd", "pcx", "pfm", "pgm", "png", "pnm"),
        *("ppm", "psb", "psd", "qoi", "ras", "rgb", "rgba", "sgi", "svg", "tga", "tif", "tiff"),
        *("wdp", "webp", "wmf", "xbm", "xcf", "xpm"),
        # Cameras
        *("3fr", "arw", "cr2", "cr3", "crw", "dcr", "dng", "erf", "fff", "iiq", "kdc", "mos"),
        *("mrw", "nef", "nrw", "orf", "pef", "raf", "raw", "rw2", "rwl", "sr2", "srf"),
        *("srw", "x3f"),
        # Science
        *("dcm", "dicom", "fit", "fits", "fts", "mha", "mhd", "nii", "nii.gz", "nrrd"),
    )
)
"""Suffixes of images, readable or not, without the dot."""

_SHOWN = 6  # paths in a message
_CLOSED = "folder that cannot be opened"
_SYSTEM = frozenset({"__macosx", "@eadir", "$recycle.bin"})
"""Folders in which systems keep thumbnails and the like."""


class Skipped(NamedTuple):
    """Something that looks like an image, or may hold some, and was not taken."""

    path: Path
    reason: str
    """For messages of the form `reason: path`."""

    setting: str | None = None
    """Name of the setting that would include it."""


class Found(NamedTuple):
    """An image that can be read, by its suffix."""

    path: Path
    names: tuple[str, ...]
    """The folders below the one that was listed, and the stem."""


@dataclass
class Listing:
    """What one folder holds, in natural order, without what is hidden."""

    images: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


def list_folder(folder: Path, leave_out: Sequence[Path] = ()) -> Listing:
    """List one folder.

    Args:
        folder: where to look.
        leave_out: folders that are ignored, such as that of the results.
    """
    listing = Listing()
    hidden = {*map(os.path.realpath, leave_out)}
    for entry in sorted(_entries(folder), key=lambda entry: natural(entry.name)):
        path = folder / entry.name
        if _is_folder(entry):
            if entry.name.lower() not in _SYSTEM and os.path.realpath(path) not in hidden:
                listing.folders.append(path)
        elif (reason := _reason(entry)) is None:
            listing.images.append(path)
        elif reason:
            listing.skipped.append(Skipped(path, reason))
    return listing


def list_images(
    folder: Path, *, recursive: bool = False, leave_out: Sequence[Path] = ()
) -> tuple[list[Found], list[Skipped]]:
    """The images of a folder, and what was not taken.

    Args:
        folder: where to look.
        recursive: look into its subfolders too; otherwise those with images are skipped.
        leave_out: folders that are ignored, such as that of the results.
    """
    images: list[Found] = []
    skipped: list[Skipped] = []
    for names, listing in _walk(folder, leave_out):
        images += [Found(path, (*names, path.stem)) for path in listing.images]
        skipped += listing.skipped
        if not recursive:
            skipped += skipped_folders(listing.folders, leave_out)
            break
    return images, skipped


def skipped_folders(folders: Sequence[Path], leave_out: Sequence[Path] = ()) -> list[Skipped]:
    """Those of some folders that hold images, at any depth."""
    skipped = []
    for folder in folders:
        try:
            if any(listing.images or listing.skipped for _, listing in _walk(folder, leave_out)):
                skipped.append(Skipped(folder, "subfolder with images", "recursive"))
        except InputError:
            skipped.append(Skipped(folder, _CLOSED))
    return skipped


def require_images(folder: Path, images: Sequence[Found], skipped: Sequence[Skipped]) -> None:
    """Refuse a folder without images that can be read."""
    if images:
        return
    for path, reason, setting in skipped:
        if setting:
            raise InputError(
                f"{folder} holds images only in subfolders, such as {path.name}: include "
                "subfolders, or name one of them.",
                setting=setting,
            )
        raise InputError(f"{folder} holds no image that can be read ({reason}: {path.name}).")
    raise InputError(f"{folder} holds no images: they end with one of {', '.join(SUFFIXES)}.")


def enumerated(paths: Sequence[Path]) -> str:
    """Paths for a message, such as `a, b and c`; of many the first."""
    texts = [str(path) for path in paths]
    if len(texts) > _SHOWN:
        texts[_SHOWN - 1 :] = [f"{len(texts) - _SHOWN + 1} more"]
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if texts[1:] else texts)


def _walk(top: Path, leave_out: Sequence[Path]) -> Iterator[tuple[tuple[str, ...], Listing]]:
    """A folder and all below it, each with the names of the folders on the way to it."""
    seen: dict[str, Path] = {}
    stack: list[tuple[str, ...]] = [()]
    while stack:
        names = stack.pop()
        folder = top.joinpath(*names)
        twin = seen.setdefault(os.path.realpath(folder), folder)
        if twin is not folder:  # links may lead back to where they are
            yield names, Listing(skipped=[Skipped(folder, f"link to {twin}, already listed")])
            continue
        try:
            listing = list_folder(folder, leave_out)
        except InputError:
            if not names:
                raise
            yield names, Listing(skipped=[Skipped(folder, _CLOSED)])
            continue
        yield names, listing
        stack += [(*names, path.name) for path in reversed(listing.folders)]


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise InputError(
            f"cannot open the folder {folder} ({error.strerror}): check the name and its "
            "permissions."
        ) from error


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle
        return False


def _reason(entry: "os.DirEntry[str]") -> str | None:
    """Why a file is not taken, None if it is, empty if it does not look like an image."""
    suffix = _suffix(entry.name)
    if entry.is_symlink():
        target = os.readlink(entry.path)
        if not os.path.exists(entry.path):
            lost = suffix in _IMAGES or not suffix
            return f"broken link to {target}" if lost else ""
        if suffix not in _IMAGES and _suffix(target) in _IMAGES:
            return f"link to {target} without the suffix of an image"
    if f".{suffix}" in SUFFIXES:
        return None if entry.is_file() else "not a regular file"
    if suffix in _IMAGES:
        return f"{suffix} files cannot be read, convert to PNG or TIFF"
    return ""


def _suffix(name: str) -> str:
    """In lower case and without the dot."""
    lower = name.lower()
    return "nii.gz" if lower.endswith(".nii.gz") else os.path.splitext(lower)[1][1:]
