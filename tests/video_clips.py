"""Small clips for tests."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

Levels = NDArray[Any]


def flat(level: int, shape: tuple[int, ...] = (32, 48)) -> Levels:
    """An even image."""
    return np.full(shape, level, np.uint8)


def noise(count: int, shape: tuple[int, int] = (32, 48)) -> list[Levels]:
    """Images that compress badly."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, shape, np.uint8) for _ in range(count)]


def write_clip(
    path: Path,
    images: Sequence[Levels],
    *,
    rate: Fraction | int = 25,
    codec: str = "ffv1",
    form: str = "gray",
    times: Sequence[int] | None = None,
    unit: Fraction | None = None,
    prepare: Callable[[Any], None] = lambda stream: None,
    tones: int = 0,
) -> Path:
    """Write a clip without loss, if the codec is left alone.

    Args:
        times: in units, of each image; even by default.
        prepare: called with the stream.
        tones: seconds of sound.
    """
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = form
        unit = unit or 1 / Fraction(rate)
        stream.codec_context.time_base = unit
        prepare(stream)
        sound: Any = container.add_stream("aac", rate=8000) if tones else None
        for number, image in enumerate(images):
            source = {2: {1: "gray", 2: form}[image.itemsize], 3: "rgb24"}[image.ndim]
            frame = av.VideoFrame.from_ndarray(image, source)
            frame = frame if form == source else frame.reformat(format=form)
            frame.pts = times[number] if times else number
            frame.time_base = unit
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        for start in range(0, 8000 * tones, 1000):
            wave = np.sin(np.arange(start, start + 1000)[None] / 5).astype(np.float32)
            heard = av.AudioFrame.from_ndarray(wave, "fltp", "mono")
            heard.sample_rate, heard.pts = 8000, start
            container.mux(sound.encode(heard))
        if sound:
            container.mux(sound.encode(None))
    return path


def read_clip(path: Path) -> list[tuple[Fraction, Levels]]:
    """Times and pixels, as RGB or the grey of the file."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [
            (
                Fraction(frame.pts or 0) * Fraction(stream.time_base or 1),
                frame.to_ndarray()
                if frame.format.name.startswith("gray")
                else frame.to_ndarray(format="rgb24"),
            )
            for frame in container.decode(stream)
        ]


def packets(path: Path) -> list[tuple[int | None, bytes]]:
    """Those of the sound."""
    with av.open(str(path)) as container:
        return [(p.pts, bytes(p)) for p in container.demux(audio=0) if p.size]
