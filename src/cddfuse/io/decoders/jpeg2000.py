"""JPEG 2000: Pillow decodes 8 bits, imagecodecs more, which Pillow would cut in colour images."""

import struct
from functools import partial
from io import BytesIO

from PIL import Jpeg2KImagePlugin

from cddfuse.io.decoders.base import Encoded, Kind, Pixels, UnreadableError
from cddfuse.io.decoders.pillow import ancillary_of, flattened
from cddfuse.io.directories import Data

CODESTREAM = b"\xff\x4f\xff\x51"


def jpeg2000(data: Data) -> Encoded:
    """A JP2 file or a bare codestream."""
    at = data.find(CODESTREAM)
    if at < 0:
        raise ValueError("there is no header")
    right, bottom, left, top = struct.unpack_from(">4I", data, at + 8)
    channels = struct.unpack_from(">H", data, at + 40)[0]
    depths = {struct.unpack_from(">B", data, at + 42 + 3 * index)[0] for index in range(channels)}
    bits = max((depth & 0x7F) + 1 for depth in depths)
    kind: Kind = "i" if any(depth & 0x80 for depth in depths) else "u"
    if kind == "u" and bits <= 8:
        picture = Jpeg2KImagePlugin.Jpeg2KImageFile(BytesIO(data))
        ancillary = ancillary_of(picture)
        pixels = partial(flattened, picture, ancillary.icc)
        return Encoded(right - left, bottom - top, 8, "u", pixels, 1, ancillary)
    if len(depths) > 1:
        raise UnreadableError("has channels of different depths: save it as RGB or grey.")
    pixels = partial(_deep_pixels, data, kind, bits)
    return Encoded(right - left, bottom - top, bits, kind, pixels)


def _deep_pixels(data: Data, kind: Kind, bits: int) -> Pixels:
    import imagecodecs

    array = imagecodecs.jpeg2k_decode(bytes(data))
    array = array if array.ndim == 3 else array[..., None]
    if array.shape[2] > 4:
        raise UnreadableError(f"has {array.shape[2]} channels: save it as RGB or grey.")
    return array[..., 0] if array.shape[2] < 3 else array[..., :3]
