"""Clips in memory for tests, and some that no camera makes."""

import json
from collections.abc import Generator, Sequence
from fractions import Fraction
from io import BytesIO
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from cddfuse.errors import InputError
from cddfuse.io.video import sealed_reader
from cddfuse.io.video.sealed import Sealed
from cddfuse.io.video.sealed_stream import Message, Spawned

SIZE = (48, 64)


def moving(count: int, size: tuple[int, int] = SIZE, *, colour: bool = False) -> list[NDArray[Any]]:
    """A bright square that moves over a ground that is noisy."""
    rng = np.random.default_rng(count + colour)
    ground = rng.integers(0, 90, (*size, 3) if colour else size, np.uint8)
    images = []
    for number in range(count):
        image = ground + rng.integers(0, 5, ground.shape, np.uint8)  # of a camera at rest
        at = number % (size[1] - 16)
        image[16:32, at : at + 16] = (250, 160, 40) if colour else 250
        images.append(image)
    return images


def clip(
    images: Sequence[NDArray[Any]],
    container: str = "matroska",
    codec: str = "ffv1",
    form: str = "",
    *,
    copies: int = 0,
    more: bytes | None = None,
    **options: str,
) -> bytes:
    """A video file.

    Args:
        images: (H, W) or (H, W, 3), uint8.
        container: of FFmpeg.
        codec: of FFmpeg.
        form: of its pixels; by default one without loss.
        copies: how often the last packet is repeated.
        more: a file of the same codec, whose packets follow.
        options: of the container.
    """
    stream_form = form or ("gray" if images[0].ndim == 2 else "bgr0")
    file = BytesIO()
    with av.open(file, "w", format=container, options=options) as target:
        stream: Any = target.add_stream(codec, rate=25)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = stream_form
        packets = []
        for image in images:
            given = av.VideoFrame.from_ndarray(image, "gray" if image.ndim == 2 else "rgb24")
            packets += stream.encode(given.reformat(format=stream_form))
        packets += stream.encode(None)
        for packet in packets:
            target.mux(packet)
        step = Fraction(1, 25) / packets[-1].time_base
        data = bytes(packets[-1])
        others = [data] * copies if more is None else content(more)
        for number, one in enumerate(others, len(images)):
            packet = av.Packet(one)
            packet.pts = packet.dts = int(number * step)
            packet.time_base, packet.stream = packets[-1].time_base, stream
            target.mux(packet)
    return file.getvalue()


def content(data: bytes) -> list[bytes]:
    """The packets of a clip."""
    with av.open(BytesIO(data), "r") as source:
        return [bytes(packet) for packet in source.demux(video=0) if packet.size]


def shown(data: bytes) -> list[NDArray[Any]]:
    """The frames of a clip as RGB."""
    with av.open(BytesIO(data), "r") as source:
        return [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)]


def sound() -> bytes:
    """A file without video."""
    file = BytesIO()
    with av.open(file, "w", format="mp4") as target:
        stream: Any = target.add_stream("aac", rate=8000)
        wave = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        wave.sample_rate = 8000
        for frame in (wave, None):
            target.mux(stream.encode(frame))
    return file.getvalue()


def decoded_here(
    sealed: Sealed, samples: int | None, spawned: Spawned
) -> Generator[Message, None, None]:
    """In place of `sealed_stream._messages`: the same without a process, which costs more."""
    for head, data in sealed_reader.messages(sealed, samples):
        head = json.loads(json.dumps(head))
        if "refused" in head:
            raise InputError(head["refused"], head.get("setting"))
        yield head, bytearray(data)
