"""A video file as a sink: frames in order and the sound of the first clip, written atomically."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from torch import Tensor

from cddfuse.errors import InputError, exists_already, folder_in_the_way
from cddfuse.io.files import replacing
from cddfuse.io.image_files import require_writable
from cddfuse.io.images import quantize
from cddfuse.io.metadata import Metadata
from cddfuse.io.source import Kind
from cddfuse.io.video import pixels
from cddfuse.io.video.pixels import FULL, LIMITED, Layer
from cddfuse.io.video.settings import FRAME_RATE, ClipWriting, CodecName
from cddfuse.io.video.streams import Facts, open_container, pyav, reason

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

WRITTEN = (".mp4", ".m4v", ".mov", ".mkv", ".webm")
_MP4 = (".mp4", ".m4v", ".mov")


class Codec(NamedTuple):
    """An encoder, and what it is told."""

    encoder: str
    containers: tuple[str, ...]
    options: dict[str, str]
    crf: int | None
    """By default; None for lossless ones."""

    most: int
    """Of the rate factor."""

    tag: str | None = None
    """Code in MP4 files that players expect."""


CODECS: dict[CodecName, Codec] = {
    "h264": Codec("libx264", (*_MP4, ".mkv"), {}, 18, 51),
    "hevc": Codec("libx265", (*_MP4, ".mkv"), {"x265-params": "log-level=none"}, 20, 51, "hvc1"),
    "av1": Codec("libsvtav1", (".mp4", ".mkv", ".webm"), {"preset": "8"}, 24, 63),
    "vp9": Codec(
        "libvpx-vp9",
        (".webm", ".mkv", ".mp4"),
        {"b:v": "0", "row-mt": "1", "deadline": "good", "cpu-used": "4"},
        24,
        63,
    ),
    "ffv1": Codec("ffv1", (".mkv",), {"level": "3", "slicecrc": "1"}, None, 0),
}


class Sound(NamedTuple):
    """The sound that goes with a clip."""

    path: Path
    start: Fraction
    """Seconds from the zero of that file to the first frame of the result."""

    early: bool = False
    """Whether what is heard before that belongs to frames that are not in the result."""


@dataclass
class VideoFile:
    """Fused frames as one video file.

    Its H.264 is what browsers and players take: 4:2:0, limited range, BT.709, converted and tagged
    so, with the index in front. A side of odd length is extended by one repeated row or column.
    """

    kind: ClassVar[Kind] = "clip"
    file: Path
    settings: ClipWriting = field(default_factory=ClipWriting)
    facts: Facts | None = None
    """Of the clip that is fused; None for images, whose times follow from the frame rate."""

    sound: Sound | None = None
    bits: Literal[8, 16] | None = None
    """Per channel; only FFV1 holds 16, and takes as many as the sources need by default."""

    overwrite: bool = False
    notes: Sequence[str] = ()
    places: Mapping[str, int] = field(default_factory=dict)
    """Of images among all of a source, by name, so that one that fails shifts no other in time."""

    live: bool = False
    """Whether there is no end but that of the user: what was recorded is kept then."""

    buffer: BytesIO | None = None
    """Where it is written instead, so that nothing is on disk; of `file`, only the suffix counts
    then."""

    _open: "_Writer | None" = field(default=None, init=False)
    _stack: ExitStack = field(default_factory=ExitStack, init=False)
    _count: int = field(default=0, init=False)

    @property
    def codec(self) -> CodecName:
        """What is written."""
        return self.settings.codec or ("vp9" if self.file.suffix.lower() == ".webm" else "h264")

    def prepare(self, sources: list[Path]) -> None:
        """Refuse what would replace a source or another file, or cannot be written."""
        pyav()
        if self.file.resolve() in {path.resolve() for path in sources}:
            raise InputError(f"{self.file} is a source: choose another name.", "output")
        suffix = self.file.suffix.lower()
        if suffix not in WRITTEN:
            known = ", ".join(WRITTEN)
            raise InputError(f"cannot write {self.file}: end its name with one of {known}.")
        if suffix not in CODECS[self.codec].containers:
            known = ", ".join(CODECS[self.codec].containers)
            raise InputError(
                f"{suffix} files do not hold {self.codec}: use another codec, or one of {known}.",
                "codec",
            )
        self._require_rate_factor()
        if self.bits == 16 and self.codec != "ffv1":
            raise InputError(f"{self.codec} is written with 8 bits: use ffv1 for 16.", "codec")
        if os.path.isdir(self.file):
            raise folder_in_the_way(self.file)
        if os.path.isfile(self.file) and not self.overwrite:
            raise exists_already(self.file)
        require_writable(self.file.parent)

    def path(self, name: str) -> Path:
        """The file, for all frames."""
        return self.file

    def has(self, name: str) -> bool:
        """Never: a clip is written anew."""
        return False

    def write(self, name: str, image: Tensor, metadata: Metadata) -> bool:
        """Append a fused frame (C, H, W) in [0, 1]."""
        time = metadata.time
        if time is None:
            place = self.places.get(name, self._count)
            time = place / (self.settings.rate or FRAME_RATE)
        self._count += 1
        with self._encoding():
            if self._open is None:
                self._open = self._begin(image, metadata)
            self._open.append(image, time)
        return True

    def close(self) -> None:
        """Finish the file and move it to its place."""
        if self._open is not None:
            with self._stack, self._encoding():
                self._open.finish()

    def abandon(self) -> None:
        """Remove what has been written; what a camera has shown is kept instead."""
        if self.live:
            self.close()
        elif self._open is not None:
            self._open.drop()
            error = InterruptedError()
            self._stack.__exit__(type(error), error, None)

    def _require_rate_factor(self) -> None:
        """Refuse one that the codec does not have."""
        crf, codec = self.settings.crf, CODECS[self.codec]
        if crf is not None and codec.crf is None:
            raise InputError(f"{self.codec} is lossless: leave the rate factor out.", "crf")
        if crf is not None and not 0 <= crf <= codec.most:
            raise InputError(
                f"{self.codec} has no rate factor {crf}: use 0 to {codec.most}.", "crf"
            )

    @contextmanager
    def _encoding(self) -> Iterator[None]:
        """What encoders refuse is an error of the user's choice; a full disk is not."""
        av = pyav()
        try:
            yield
        except av.FFmpegError as error:
            if isinstance(error, OSError):
                raise
            raise InputError(
                f"{self.codec} does not take these frames ({reason(error)}): use another codec.",
                "codec",
            ) from error

    def _begin(self, image: Tensor, metadata: Metadata) -> "_Writer":
        deep = self.bits == 16 or (self.bits is None and metadata.bits == 16)
        rate = self.settings.rate or FRAME_RATE
        height, width = image.shape[-2:]
        facts = self.facts or Facts(height, width, deep, rate, None, None, 1 / rate)
        if self.buffer is not None:
            return _Writer(self.buffer, self, facts, image, deep)
        temporary = self._stack.enter_context(replacing(self.file))
        return _Writer(temporary, self, facts, image, deep)


class _Writer:
    """A file that is being written."""

    def __init__(
        self, place: Path | BytesIO, sink: VideoFile, facts: Facts, image: Tensor, deep: bool
    ) -> None:
        codec = CODECS[sink.codec]
        self._sink, self._shape = sink, image.shape
        self._layer = _layer(sink.codec, len(image) == 1, deep)
        self._bits: Literal[8, 16] = 16 if "16" in self._layer.format else 8
        self._unit, self._last = facts.unit, -1
        # No random numbers and no versions: equal frames are equal files, but for x264, whose
        # assembly has been seen to choose otherwise from run to run.
        index = {"fflags": "+bitexact"}
        if sink.file.suffix.lower() in _MP4:
            index["movflags"] = "+faststart"
        self._container = _created(place, sink.file, index)
        crf = sink.settings.crf if sink.settings.crf is not None else codec.crf
        options = codec.options | ({} if crf is None or codec.crf is None else {"crf": str(crf)})
        stream: Any = self._container.add_stream(codec.encoder, rate=facts.rate, options=options)
        height, width = image.shape[-2:]
        extra = 1 if self._layer.even else 0
        stream.height, stream.width = height + extra * (height % 2), width + extra * (width % 2)
        stream.pix_fmt = self._layer.format
        context = stream.codec_context
        context.time_base = facts.unit
        context.color_range = self._layer.range
        if self._layer.format.startswith("yuv"):
            context.colorspace = context.color_primaries = context.color_trc = pixels.BT709
        if facts.aspect != 1:
            context.sample_aspect_ratio = facts.aspect
        if codec.tag and sink.file.suffix.lower() in _MP4:
            context.codec_tag = codec.tag
        self._stream: VideoStream = stream
        self._sound = _Copied(self._container, sink.sound) if sink.sound else None

    def append(self, image: Tensor, time: Fraction) -> None:
        """Encode a frame."""
        lost = len(image) == 3 and self._layer.format.startswith("gray")
        if lost or image.shape[1:] != self._shape[1:]:  # grey fits into colour
            size, other = (f"{x[-1]}x{x[-2]}x{x[0]}" for x in (image.shape, self._shape))
            raise InputError(
                f"a frame is {size} and the clip {other}: write numbered frames to a folder."
            )
        frame = pixels.encodable(quantize(image, self._bits), self._layer)
        # Times that differ by less than a tick would be equal.
        self._last = max(round(time / self._unit), self._last + 1)
        frame.pts, frame.time_base = self._last, self._unit
        if self._sound:
            self._sound.until(time)
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Encode what the encoder holds back, and close the file."""
        if self._sound:
            self._sound.until(None)
        self._container.mux(self._stream.encode(None))
        self.drop()

    def drop(self) -> None:
        """Close the file as it is."""
        if self._sound:
            self._sound.close()
        self._container.close()


class _Copied:
    """The packets of a sound, copied in step with the frames."""

    def __init__(self, target: "OutputContainer", sound: Sound) -> None:
        self._source: InputContainer = open_container(str(sound.path))
        stream: AudioStream = self._source.streams.audio[0]
        self._target = target
        self._stream = target.add_stream_from_template(stream)
        self._start, self._early = sound.start, sound.early
        self._packets: Iterator[Packet[Any]] = self._source.demux(stream)
        self._next: Packet[Any] | None = None

    def until(self, time: Fraction | None) -> None:
        """Copy what is heard until then, or all."""
        while packet := self._next or next(self._packets, None):
            self._next = packet
            if packet.dts is not None and packet.pts is not None:
                heard = packet.pts * packet.time_base - self._start
                if time is not None and heard > time:
                    return
                if heard >= 0 or not self._early:
                    shift = round(self._start / packet.time_base)
                    packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                    packet.stream = self._stream
                    self._target.mux(packet)
            self._next = None

    def close(self) -> None:
        """Let go of the file."""
        self._source.close()


def _created(place: Path | BytesIO, file: Path, options: dict[str, str]) -> "OutputContainer":
    """The file to write, as its suffix says, or the same in memory."""
    av = pyav()
    if isinstance(place, Path):
        container: OutputContainer = av.open(str(place), "w", options=options)
        return container

    def read_again(url: str, flags: int, more: dict[str, str]) -> BytesIO:
        """What is written so far, for the index that moves to the front at the end."""
        return BytesIO(place.getvalue())

    form = _form(file)
    written: OutputContainer = av.open(place, "w", format=form, options=options, io_open=read_again)
    return written


def _form(file: Path) -> str:
    """What FFmpeg calls the container of a suffix."""
    suffix = file.suffix.lower()
    return {".m4v": "mp4", ".mkv": "matroska"}.get(suffix, suffix[1:])


def find_sound(offsets: Sequence[tuple[Path, Fraction]], target: Path) -> tuple[Sound | None, str]:
    """The sound of the first of some files that has any, or a sentence why it is not copied.

    Args:
        offsets: the files, with the seconds from the first frame of each to that of the result.
        target: the file that would hold it.
    """
    for path, offset in offsets:
        with open_container(str(path)) as container:
            if not container.streams.audio:
                continue
            video = container.streams.video[0]
            start = Fraction((video.start_time or 0) * (video.time_base or 0))
            name = container.streams.audio[0].codec_context.name
        if _holds(target, path):
            return Sound(path, start + offset, early=offset > 0), ""
        return None, f"{target.suffix} files do not hold its sound ({name}), which is left out"
    return None, ""


def _holds(target: Path, path: Path) -> bool:
    """Whether a container of that suffix takes the sound of a file."""
    av = pyav()
    form = _form(target)
    with open_container(str(path)) as source:
        try:
            with av.open(BytesIO(), "w", format=form) as trial:
                trial.add_stream_from_template(source.streams.audio[0])
                trial.start_encoding()
        except (av.FFmpegError, ValueError):
            return False
    return True


def _layer(codec: CodecName, grey: bool, deep: bool) -> Layer:
    if codec != "ffv1":
        return Layer("yuv420p", LIMITED, even=True)
    if deep:
        return Layer("gray16le" if grey else "gbrp16le", FULL)
    return Layer("gray" if grey else "bgr0", FULL)
