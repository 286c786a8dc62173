"""The one index from what a user names to the source that reads it and the sink that writes it."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cddfuse.errors import InputError
from cddfuse.io.decode import SUFFIXES
from cddfuse.io.folders import PairedPaths, pair_folders
from cddfuse.io.image_files import ImageFiles, ImagePairs
from cddfuse.io.names import swapped
from cddfuse.io.ranges import Ranges, resolve
from cddfuse.io.source import Loaded, Sink, Source
from cddfuse.io.volumes import (
    VolumePair,
    VolumeReading,
    VolumeWriting,
    holds_dicom,
    open_results,
    open_volumes,
)


@dataclass(frozen=True)
class Reading:
    """How sources are read."""

    resize: bool = False
    """Bring the second image to the size of the first."""

    recursive: bool = False
    """Look into subfolders too."""

    leave_out: Sequence[Path] = ()
    """Subfolders that are no sources, such as that of the results."""

    ranges: Ranges = field(default_factory=Ranges)
    """How values become [0, 1]; estimated once over all pairs."""

    volumes: VolumeReading = field(default_factory=VolumeReading)


@dataclass(frozen=True)
class Writing:
    """How results are written."""

    output: Path
    """A folder; for one pair, a file too."""

    suffix: str = ""
    """Added to the names of the results, before the dot."""

    form: str = "png"
    """Suffix of the files in a folder, without the dot."""

    bits: Literal[8, 16] | None = None
    """Per channel; by default as many as the sources need."""

    overwrite: bool = False
    """Replace results that exist."""

    strip: bool = False
    """Leave out the metadata of the first image."""

    volumes: VolumeWriting = field(default_factory=VolumeWriting)


@dataclass(frozen=True)
class Format:
    """How one kind of input becomes a source, and how results are written in that kind."""

    suffixes: tuple[str, ...]
    """In lower case; empty for folders."""

    source: Callable[[Path, Path | None, Reading], Source[Loaded]]
    sink: Callable[[Source[Loaded], Writing], Sink]


def open_source(first: Path, second: Path | None, reading: Reading) -> Source[Loaded]:
    """The pairs of two files or folders.

    Args:
        first: a file or folder; a folder may hold both sides.
        second: its partner, of the same kind.
        reading: how.
    """
    if not os.path.exists(first):
        raise InputError(f"there is no file or folder {first}: check the name.")
    name = "folder" if os.path.isdir(first) else _named(first) or "image"
    name = "volume" if holds_dicom(first) else name
    if name != "volume" and reading.volumes != VolumeReading():
        raise InputError(f"{first} is no medical volume: leave out the settings of volumes.")
    return FORMATS[name].source(first, second, reading)


def open_sink(source: Source[Loaded], writing: Writing) -> Sink:
    """Where the results of a source go: what the suffix of the output says, or files of images."""
    if isinstance(source, VolumePair):
        return _volume_results(source, writing)
    if writing.form == "dcm" or _named(writing.output) == "volume":
        raise InputError("images cannot become volumes: give volumes, or choose another format.")
    if writing.volumes != VolumeWriting():
        raise InputError("colour maps are for medical volumes: leave out the map.", "colour_map")
    return FORMATS[_named(writing.output) or "image"].sink(source, writing)


def _named(path: Path) -> str | None:
    """The format that the suffix of a file names."""
    end = path.name.lower()
    return next((name for name, form in FORMATS.items() if end.endswith(form.suffixes)), None)


def _two_images(first: Path, second: Path | None, reading: Reading) -> ImagePairs:
    if second is None:
        raise InputError(f"{first} is one image: give the second one too.")
    if os.path.isdir(second):
        raise InputError(f"{first} is a file and {second} a folder: give two of one kind.")
    pairs = [PairedPaths(first.stem, first, second)]
    advice = swapped(first, second)
    ranges, sentence = resolve(reading.ranges, pairs)
    notes = [note for note in (advice, sentence) if note]
    return ImagePairs(pairs, notes=notes, resize=reading.resize, ranges=ranges)


def _image_folders(first: Path, second: Path | None, reading: Reading) -> ImagePairs:
    pairing = pair_folders(first, second, recursive=reading.recursive, leave_out=reading.leave_out)
    ranges, sentence = resolve(reading.ranges, pairing.pairs)
    return ImagePairs(
        pairing.pairs,
        skipped=pairing.left_out,
        notes=[*pairing.notes, *([sentence] if sentence else [])],
        resize=reading.resize,
        ranges=ranges,
        folder=True,
    )


def _image_files(source: Source[Loaded], writing: Writing) -> ImageFiles:
    output, many = writing.output, not isinstance(source, ImagePairs) or source.folder
    if many and os.path.isfile(output):
        raise InputError(f"{output} is a file: give a folder for the results of folders.")
    whole = many or os.path.isdir(output) or not output.suffix

    def path(name: str) -> Path:
        if whole:
            return output / f"{name}{writing.suffix}.{writing.form}"
        return output.with_stem(output.stem + writing.suffix)

    sink = ImageFiles(path, bits=writing.bits, overwrite=writing.overwrite, strip=writing.strip)
    sink.prepare(source.pairs if isinstance(source, ImagePairs) else [])
    return sink


def _two_volumes(first: Path, second: Path | None, reading: Reading) -> VolumePair:
    if reading.resize:
        raise InputError("volumes are resampled by their positions, not resized.", "resize")
    return open_volumes(first, second, reading.volumes, reading.ranges, reading.leave_out)


def _volume_results(source: Source[Loaded], writing: Writing) -> Sink:
    assert isinstance(source, VolumePair)
    if writing.strip:
        raise InputError(
            "results of volumes inherit patient and study only: leave those out instead.",
            "anonymous",
        )
    return open_results(
        source,
        writing.output,
        writing.volumes,
        suffix=writing.suffix,
        form=writing.form,
        bits=writing.bits,
        overwrite=writing.overwrite,
    )


FORMATS: Mapping[str, Format] = {
    "image": Format(SUFFIXES, _two_images, _image_files),
    "folder": Format((), _image_folders, _image_files),
    "volume": Format((".nii", ".nii.gz", ".dcm", ".dicom", ".ima"), _two_volumes, _volume_results),
}
