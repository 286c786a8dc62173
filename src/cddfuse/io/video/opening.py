"""What a user names as clips, opened; and where the fused clip goes."""

import os
from itertools import islice
from pathlib import Path
from typing import Literal

from cddfuse.errors import InputError
from cddfuse.io.decode import SUFFIXES as IMAGES
from cddfuse.io.files import require_there
from cddfuse.io.ranges import Ranges
from cddfuse.io.source import Loaded, Source
from cddfuse.io.video.clip import Clip
from cddfuse.io.video.live import Live, frames_of
from cddfuse.io.video.settings import MOVING, ClipReading, ClipWriting, address
from cddfuse.io.video.streams import FileStream, ImageStream, Stream
from cddfuse.io.video.writer import VideoFile, find_sound
from cddfuse.pair import ImagePair
from cddfuse.registration import Transform

_DEEPEST = 500  # frames that are decoded to find one to align


def open_clip(
    first: Path,
    second: Path | None,
    reading: ClipReading,
    ranges: Ranges,
    resize: bool = False,
    transform: Transform | None = None,
) -> Clip | Live:
    """Two clips, or one that holds both sides; either may be an image sequence, or both live."""
    if second is None and not reading.layout:
        raise InputError(
            f"{first} is one clip: give the second one too, or say how it holds both.", "layout"
        )
    if second is not None and reading.layout:
        raise InputError(
            f"{first} and {second} are two clips: leave out how one holds both.", "layout"
        )
    addresses = [found for path in (first, second) if path and (found := address(path))]
    if not addresses:
        streams = [_stream(path, reading) for path in (first, second) if path]
        other = streams[1] if second else None
        return Clip.of(streams[0], other, reading, ranges, resize, transform)
    if len(addresses) != 2:
        raise InputError(f"{addresses[0]} is live: give a second live source with it.")
    both = (addresses[0], addresses[1])
    return Live(both, frames_of, ranges, reading.offset, resize, transform)


def middle_pair(first: Path, second: Path, ranges: Ranges) -> ImagePair:
    """The frames in the middle of two clips that are shown at one time, of any sizes."""
    streams = _stream(first, ClipReading()), _stream(second, ClipReading())
    clip = Clip.of(*streams, ClipReading(), ranges, any_size=True)
    middle = min((clip.length or 0) // 2, _DEEPEST)
    *_, entry = islice(clip, middle + 1)
    return entry.read().pair


def clip_file(
    source: Source[Loaded],
    output: Path,
    settings: ClipWriting,
    *,
    bits: Literal[8, 16] | None = None,
    overwrite: bool = False,
) -> VideoFile:
    """The file that the frames of a source become."""
    clip = source if isinstance(source, Clip) else None
    sink = VideoFile(
        output,
        settings,
        facts=clip.facts if clip else None,
        bits=bits,
        overwrite=overwrite,
        live=isinstance(source, Live),
    )
    sink.prepare(clip.files if clip else [])
    if clip:
        sink.sound, note = find_sound(clip.offsets, output)
        sink.notes = [note] if note else []
    elif not sink.live:  # entries are listed, not read
        sink.places = {entry.name: place for place, entry in enumerate(source)}
    return sink


def _stream(path: Path, reading: ClipReading) -> Stream:
    require_there(path)
    if os.path.isdir(path):
        return ImageStream.of(path, reading.rate)
    if path.suffix.lower() in set(IMAGES) - MOVING:
        raise InputError(f"{path} is one image: give a clip, or a folder of images.")
    return FileStream.of(path)
