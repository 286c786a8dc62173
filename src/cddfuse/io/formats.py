"""The one index from what a user names to the source that reads it and the sink that writes it.

Clips and volumes are imported when they are named.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from cddfuse.errors import InputError
from cddfuse.io import decode
from cddfuse.io.decode import SUFFIXES
from cddfuse.io.files import remove_abandoned, require_there
from cddfuse.io.folders import PairedPaths, pair_folders
from cddfuse.io.image_files import ImageFiles, ImagePairs
from cddfuse.io.names import swapped
from cddfuse.io.ranges import Ranges, resolve
from cddfuse.io.shards import Shard
from cddfuse.io.source import Loaded, Sink, Source
from cddfuse.io.thermal.reading import ThermalReading, pair_in, pairs_in
from cddfuse.io.video.settings import MOVING, ClipReading, ClipWriting, names_clip
from cddfuse.io.video.settings import SUFFIXES as VIDEO_SUFFIXES
from cddfuse.io.volumes.finding import SUFFIXES as DICOM_SUFFIXES
from cddfuse.io.volumes.finding import holds_dicom
from cddfuse.io.volumes.options import VolumeReading, VolumeWriting
from cddfuse.registration import Transform


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

    transform: Transform | None = None
    """Where the first images lie in the second ones, which may be of another size then."""

    clip: ClipReading = field(default_factory=ClipReading)
    thermal: ThermalReading = field(default_factory=ThermalReading)
    """What is done with temperatures."""
    volumes: VolumeReading = field(default_factory=VolumeReading)
    shard: Shard | None = None
    """The share of a folder that is read; all of it by default."""


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

    clip: ClipWriting = field(default_factory=ClipWriting)
    volumes: VolumeWriting = field(default_factory=VolumeWriting)

    def __post_init__(self) -> None:
        if not {"/", "\\"}.isdisjoint(self.suffix):  # on all systems, so that commands travel
            text = f"{self.suffix} is added to a name and names no folder: leave out its slash."
            raise InputError(text, setting="suffix")


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
    name = _kind(first, second)
    _check(name, first, reading)
    return FORMATS[name].source(first, second, reading)


def _kind(first: Path, second: Path | None) -> str:
    """The format of two sources."""
    if names_clip(first) or (second and names_clip(second)):
        return "video"
    require_there(first)
    if holds_dicom(first):
        return "volume"
    return "folder" if os.path.isdir(first) else _named(first) or "image"


def _check(name: str, first: Path, reading: Reading) -> None:
    """Refuse settings that do not go with a format, or with each other."""
    _check_values(name, first, reading)
    if name != "video" and reading.clip.offset:
        raise InputError(
            f"{first} is no clip, whose frames have times: leave the offset out.", "offset"
        )
    if name != "video" and reading.clip.layout:
        raise InputError(f"{first} is no clip that holds both sides: leave it out.", "layout")
    if name != "volume" and reading.volumes != VolumeReading():
        raise InputError(f"{first} is no medical volume: leave out the settings of volumes.")
    if reading.shard and name != "folder":
        raise InputError(
            f"{first} cannot be divided into shards: only folders of images can.", setting="shard"
        )
    if reading.transform and name == "volume":
        raise InputError(
            f"{first} is a volume, which its positions align: leave out the transform.",
            setting="transform",
        )
    if reading.transform and reading.resize:
        raise InputError(
            "a transform brings the second image to the size of the first: leave out resizing it.",
            setting="resize",
        )
    if reading.transform and reading.thermal.celsius:
        raise InputError(
            "temperatures are written on the grid of the second image, not on that of the first: "
            "leave out the transform, or the temperatures.",
            setting="celsius",
        )


def _check_values(name: str, first: Path, reading: Reading) -> None:
    """Refuse what is done with thermal values of images only."""
    noun = {"video": "clip", "volume": "volume"}.get(name)
    if noun and reading.thermal.celsius:
        raise InputError(
            f"{first} is a {noun}, beside whose results no temperatures are written: leave them "
            "out.",
            "celsius",
        )
    gains = [rule.agc.kind for rule in reading.ranges]
    if name == "volume" and gains != ["none", "none"]:
        raise InputError(f"{first} is a volume: leave out the gain control of cameras.", "agc")
    if name == "volume" and reading.ranges.second.kelvin_per_count is not None:
        raise InputError(
            f"{first} is a volume, which holds no thermal counts: leave their kelvin out.",
            "kelvin_per_count",
        )


def open_sink(source: Source[Loaded], writing: Writing) -> Sink:
    """Where the results of a source go: what the suffix of the output says, or files of images."""
    name = "volume" if source.kind == "volume" else _named(writing.output) or "image"
    for setting in ("codec", "crf"):
        if name != "video" and getattr(writing.clip, setting) is not None:
            raise InputError(
                f"{writing.output} is no video file: leave out its {setting}.", setting
            )
    for folder in _folders(source, writing.output):
        remove_abandoned(folder)
    if source.kind == "volume":
        return _volume_results(source, writing)
    if writing.form == "dcm" or _named(writing.output) == "volume":
        raise InputError("images cannot become volumes: give volumes, or choose another format.")
    if writing.volumes != VolumeWriting():
        raise InputError("colour maps are for medical volumes: leave out the map.", "colour_map")
    return FORMATS[name].sink(source, writing)


def _folders(source: Source[Loaded], output: Path) -> set[Path]:
    """Where unfinished results may lie."""
    names = [pair.name for pair in source.pairs] if isinstance(source, ImagePairs) else []
    return {output, output.parent, *(output / each for each in set(map(os.path.dirname, names)))}


def _named(path: Path) -> str | None:
    """The format that the suffix of a file names."""
    end = path.name.lower()
    return next((name for name, form in FORMATS.items() if end.endswith(form.suffixes)), None)


def _two_images(first: Path, second: Path | None, reading: Reading) -> Source[Loaded]:
    if second is None:
        pair = pair_in(first)
        if pair is None:
            raise _one_image(first)
    elif os.path.isdir(second):
        raise InputError(f"{first} is a file and {second} a folder: give two of one kind.")
    elif clips := _two_clips(first, second, reading):
        return clips
    else:
        pair = PairedPaths(first.stem, first, second)
    advice = swapped(*pair[1:]) if second else None
    return _image_pairs([pair], [advice] if advice else [], reading)


def _one_image(path: Path) -> InputError:
    if decode.is_thermal(path):
        return InputError(f"{path} is thermal and holds no visible photo: give that too.")
    return InputError(f"{path} is one image: give the second one too.")


def _two_clips(first: Path, second: Path, reading: Reading) -> Source[Loaded] | None:
    """Two TIFF files of which one has several pages at least."""
    from cddfuse.io.tiff_clips import Clip, ClipPairs, Mapping

    one, other = Clip.of(first), Clip.of(second)
    if one.length == other.length == 1:
        return None
    mapping = Mapping(reading.resize, reading.thermal.celsius, reading.ranges, reading.transform)
    return ClipPairs.of(one, other, mapping)


def _image_folders(first: Path, second: Path | None, reading: Reading) -> ImagePairs:
    recursive, leave_out = reading.recursive, reading.leave_out
    try:
        pairing = pair_folders(first, second, recursive=recursive, leave_out=leave_out)
    except InputError:
        own = None if second else pairs_in(first, recursive=recursive, leave_out=leave_out)
        if own is None:
            raise
        pairing = own
    found = _image_pairs(pairing.pairs, pairing.notes, reading)
    shard = reading.shard
    left_out = [each for each in pairing.left_out if not shard or shard.holds(each.path.name)]
    return replace(found, skipped=left_out, folder=True, shard=shard)


def _image_pairs(
    pairs: Sequence[PairedPaths], notes: Sequence[str], reading: Reading
) -> ImagePairs:
    ranges, sentence = resolve(reading.ranges, pairs)
    return ImagePairs(
        pairs,
        notes=[*notes, *([sentence] if sentence else [])],
        resize=reading.resize,
        ranges=ranges,
        transform=reading.transform,
        celsius=reading.thermal.celsius,
    )


def _image_files(source: Source[Loaded], writing: Writing) -> Sink:
    if source.kind == "pages" and writing.output.suffix.lower() in (".tif", ".tiff"):
        from cddfuse.io.tiff_clips import ClipPairs, tiff_file

        assert isinstance(source, ClipPairs)
        return tiff_file(source, _suffixed(writing), writing.bits, overwrite=writing.overwrite)
    _check_frames(source, writing.output)
    output, many = writing.output, not isinstance(source, ImagePairs) or source.folder
    if many and os.path.isfile(output):
        raise InputError(f"{output} is a file: give a folder for the results of folders.")
    whole = many or os.path.isdir(output) or not output.suffix

    def path(name: str) -> Path:
        if whole:
            return output / f"{name}{writing.suffix}.{writing.form}"
        return _suffixed(writing)

    sink = ImageFiles(
        path,
        bits=writing.bits,
        overwrite=writing.overwrite,
        strip=writing.strip,
        celsius=getattr(source, "celsius", False),  # of images and pages
    )
    listed = isinstance(source, ImagePairs) and source.folder
    sink.prepare(getattr(source, "pairs", []), folder=listed)  # of images and pages
    return sink


def _suffixed(writing: Writing) -> Path:
    """The file that is written, if it is one."""
    return writing.output.with_stem(writing.output.stem + writing.suffix)


def _check_frames(source: Source[Loaded], output: Path) -> None:
    """Refuse what would mix the frames of a clip with other images."""
    if source.kind not in ("clip", "live"):
        return
    if output.suffix.lower() in SUFFIXES:
        raise InputError(
            f"{output} is the name of one image: name a video, such as out.mp4, or a folder for "
            "numbered frames.",
            "output",
        )
    if output.resolve() in getattr(source, "folders", ()):  # of a clip
        raise InputError(f"{output} holds a source: choose another folder.", "output")


def _clips(first: Path, second: Path | None, reading: Reading) -> Source[Loaded]:
    from cddfuse.io.video.opening import open_clip

    return open_clip(first, second, reading.clip, reading.ranges, reading.resize, reading.transform)


def _video_file(source: Source[Loaded], writing: Writing) -> Sink:
    from cddfuse.io.video.opening import clip_file

    if isinstance(source, ImagePairs) and not source.folder:
        raise _no_clips(source.pairs[0], writing.output)
    if isinstance(source, ImagePairs) and source.shard:
        raise InputError("a clip needs all frames: leave out the shard.", "shard")
    if getattr(source, "celsius", False):  # of images and pages
        raise InputError(
            f"{writing.output} is a video, beside which no temperatures are written: leave them "
            "out.",
            "celsius",
        )
    output = _suffixed(writing)
    return clip_file(source, output, writing.clip, bits=writing.bits, overwrite=writing.overwrite)


def _no_clips(pair: PairedPaths, output: Path) -> InputError:
    if not {path.suffix.lower() for path in (pair.first, pair.second)} <= MOVING:
        return InputError(
            f"{output} is the name of a video: give clips or folders for it.", "output"
        )
    return InputError(
        f"{output} is the name of a video, and {pair.first} and {pair.second} are read as one "
        "image each: convert them to video files first.",
        "output",
    )


def _two_volumes(first: Path, second: Path | None, reading: Reading) -> Source[Loaded]:
    from cddfuse.io.volumes.pair import open_volumes

    if reading.resize:
        raise InputError("volumes are resampled by their positions, not resized.", "resize")
    return open_volumes(first, second, reading.volumes, reading.ranges, reading.leave_out)


def _volume_results(source: Source[Loaded], writing: Writing) -> Sink:
    from cddfuse.io.volumes.pair import VolumePair
    from cddfuse.io.volumes.results import open_results

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
    "video": Format(VIDEO_SUFFIXES, _clips, _video_file),
    "volume": Format((".nii", ".nii.gz", *DICOM_SUFFIXES), _two_volumes, _volume_results),
}
