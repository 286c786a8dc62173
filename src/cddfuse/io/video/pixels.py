"""Frames of PyAV to arrays, upright and of their own depth, and images to frames.

Pixels of YUV become sRGB values by the matrix that the clip names, or that players assume.
"""

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cddfuse.io.decode import Decoded
from cddfuse.io.metadata import Metadata

if TYPE_CHECKING:
    from av import VideoFrame

# Numbers of ITU-T H.273 and of FFmpeg.
BT709, _BT601, _UNSPECIFIED = 1, 5, 2
LIMITED: Literal[1] = 1
FULL: Literal[2] = 2
_HD = 720  # lines from which players take an untagged clip as BT.709


class Layer(NamedTuple):
    """How frames are encoded."""

    format: str
    """Of the pixels, as FFmpeg calls it."""

    range: Literal[1, 2]
    """Limited or full."""

    even: bool = False
    """Whether sides must be even."""


def decoded(frame: "VideoFrame") -> Decoded:
    """The pixels of a frame: grey as it is stored, colour as RGB of 8 or 16 bits.

    Conversions take one thread: with several, FFmpeg's have been seen to wait for each other for
    ever where readers and the encoder convert at the same time.
    """
    form = frame.format
    bits = max(component.bits for component in form.components)
    if len(form.components) == 1 and not form.has_palette and form.name.startswith("gray"):
        pixels = frame.to_ndarray()
        if frame.color_range == LIMITED and pixels.dtype.kind == "u":
            pixels = _expanded(pixels, bits)
    else:
        matrix = None  # that of the clip
        if frame.colorspace == _UNSPECIFIED and not form.is_rgb:
            matrix = BT709 if frame.height >= _HD else _BT601
        name, bits = ("rgb48le", 16) if bits > 8 else ("rgb24", 8)
        pixels = frame.reformat(format=name, src_colorspace=matrix, threads=1).to_ndarray()
    white = 1.0 if pixels.dtype.kind == "f" else 2.0**bits - 1
    turned = np.rot90(pixels, frame.rotation // 90)
    return Decoded(turned, (0.0, white), bits > 8, Metadata(16 if bits > 8 else 8))


def _expanded(levels: NDArray[Any], bits: int) -> NDArray[Any]:
    """Levels of limited range, 16 to 235 of 8 bits, at the full range."""
    unit, white = 2.0 ** (bits - 8), 2.0**bits - 1
    wide = (levels.astype(np.float64) - 16 * unit) * (white / (219 * unit))
    return wide.round().clip(0, white).astype(levels.dtype)


def encodable(levels: NDArray[Any], layer: Layer) -> "VideoFrame":
    """A frame for the encoder, converted to BT.709 where it is YUV.

    Args:
        levels: (H, W) or (H, W, 3), uint8 or uint16.
        layer: what the encoder takes; a grey format needs grey levels.
    """
    from av import VideoFrame

    if layer.even:
        below, right = levels.shape[0] % 2, levels.shape[1] % 2
        levels = np.pad(levels, [(0, below), (0, right), (0, 0)][: levels.ndim], mode="edge")
    if layer.format.startswith("gray"):
        return VideoFrame.from_ndarray(np.ascontiguousarray(levels), layer.format)
    colour = levels if levels.ndim == 3 else np.repeat(levels[..., None], 3, axis=2)
    colour = np.ascontiguousarray(colour)
    if colour.dtype == np.uint16:
        return VideoFrame.from_ndarray(colour, layer.format)
    frame = VideoFrame.from_ndarray(colour, "rgb24")
    return frame.reformat(
        format=layer.format, dst_colorspace=BT709, dst_color_range=layer.range, threads=1
    )
