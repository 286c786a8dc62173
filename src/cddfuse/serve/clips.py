"""Clips: what is taken of two uploaded ones, or of one that holds both sides, and what is made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from cddfuse.errors import trouble
from cddfuse.history import History
from cddfuse.io.ranges import Ranges
from cddfuse.io.video.clip import Clip
from cddfuse.io.video.sealed import Sealed
from cddfuse.io.video.sealed_stream import SealedStream
from cddfuse.io.video.settings import ClipReading, ClipWriting
from cddfuse.io.video.writer import VideoFile
from cddfuse.pipeline import Options, Summary, fuse_all
from cddfuse.runtime import Limits
from cddfuse.serve.forms import ClipForm
from cddfuse.serve.networks import Networks
from cddfuse.serve.queue import Job
from cddfuse.serve.refusal import RefusedError, refused_as

_FIELDS = ("network", "layout", "offset", "resize", "range", "colour", "stretch")
_TOO_LARGE = ("frames", "pixels")  # limits that a clip may break
_MOST_NOTES = 5
_GROWTH = 2  # times that a result may be as large as an upload

Files = Mapping[str, bytes]


def available() -> bool:
    """Whether this installation takes clips."""
    return find_spec("av") is not None


def require_available() -> None:
    """Refuse clips where the package that decodes them is missing."""
    if not available():
        text = "this server takes no clips: it lacks the package av (cddfuse[video])."
        raise RefusedError(501, text)


class FusedClip(NamedTuple):
    """A result."""

    data: bytes
    """MP4 with H.264."""

    facts: dict[str, Any]
    """Its size, its network, and what was left out."""


@dataclass(frozen=True)
class ClipWorker:
    """What is done with uploaded clips.

    Args:
        networks: that are offered.
        size: bytes of the largest clip.
        frames: of the longest.
        pixels: of the largest frame.
    """

    networks: Networks
    size: int
    frames: int
    pixels: int

    def fused(self, files: Files, form: ClipForm, job: Job) -> FusedClip:
        """The fused clip."""
        with refused_as(422, _FIELDS):
            model = self.networks.get(form.network)
        clip = self._clip(files, form, job)
        watch = _Watch(job, clip.length or 1, self.size * _GROWTH)
        sink = VideoFile(Path("fused.mp4"), ClipWriting(), clip.facts, buffer=watch.written)
        options = Options(
            stretch=form.stretch,
            limits=Limits(progress=watch.within_frame),
            colour=form.colour,
            history=History(),
        )
        with refused_as(422, _FIELDS), trouble("fuse the clips"):
            summary = fuse_all(model, clip, sink, options, after=watch.after_frame)
        notes = [*clip.notes, *_failures(summary)]
        if not summary.done:
            raise RefusedError(422, notes[-1] if notes else "the clips give no frames.")
        height, width = clip.facts[:2]
        pace = summary.seconds / (len(summary.done) * height * width)
        self.networks.note_pace(form.network, pace, pixels=height * width)
        facts = {
            "width": width,
            "height": height,
            "frames": len(summary.done),
            "network": form.network or self.networks.default,
            "notes": notes,
        }
        return FusedClip(watch.written.getvalue(), facts)

    def _clip(self, files: Files, form: ClipForm, job: Job) -> Clip:
        """The uploaded clips, decoded once from end to end, so that they will not fail later."""
        with refused_as(422, _FIELDS):
            ranges = Ranges.parse(form.range.split())
        called = _called(files, form)
        streams = [self._stream(files[side], name, job) for side, name in called.items()]
        job.check()
        reading = ClipReading(Fraction(form.offset), form.layout or None)
        second = streams[1] if len(streams) > 1 else None
        with refused_as(422, _FIELDS), trouble("read the clips"):
            return Clip.of(streams[0], second, reading, ranges, form.resize)

    def _stream(self, data: bytes, name: str, job: Job) -> SealedStream:
        job.check()
        if not data:
            raise RefusedError(415, f"{name} is empty: send its file.")
        with refused_as(415, too_large=_TOO_LARGE):
            sealed = Sealed(data, name, self.frames, self.pixels)
            return SealedStream.of(sealed, job.when_left)


class _Watch:
    """Follows the frames: says how far the work is, and ends what grows too large.

    Args:
        job: that is followed.
        frames: how many there are.
        most: bytes of the result.
    """

    def __init__(self, job: Job, frames: int, most: int) -> None:
        self.written = BytesIO()
        self._job, self._most = job, most
        job.frames = frames

    def within_frame(self, share: float) -> None:
        """Take up the share of a frame that is done."""
        self._job.progress((self._job.frame + share) / self._job.frames)

    def after_frame(self, name: str) -> None:
        """Take up a frame that is done, or failed."""
        self._job.frame = min(self._job.frame + 1, self._job.frames)
        self.within_frame(0)
        if self.written.tell() > self._most:
            most = f"{self._most / 1e6:g} MB"
            raise RefusedError(413, f"the result would be larger than {most}: cut the clips.")


def _called(files: Files, form: ClipForm) -> dict[str, str]:
    """What refusals call each clip, by its field."""
    if "first" not in files:
        raise RefusedError(422, "the first clip is missing: send it.", field="first")
    if form.layout:
        if "second" in files:
            text = "there are two clips: leave out how one holds both."
            raise RefusedError(422, text, field="layout")
        return {"first": "the clip"}
    if "second" not in files:
        text = "the second clip is missing: send it, or say how the first holds both."
        raise RefusedError(422, text, field="second")
    return {"first": "the first clip", "second": "the second clip"}


def _failures(summary: Summary) -> Sequence[str]:
    """What could not be fused, in sentences."""
    said = [" ".join(str(error).split()) for error in summary.failed.values()]
    if len(said) > _MOST_NOTES:
        said[_MOST_NOTES:] = [f"{len(said) - _MOST_NOTES} more frames could not be fused."]
    return said
