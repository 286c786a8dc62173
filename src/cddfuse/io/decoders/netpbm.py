"""PGM, PPM and PFM. Pillow decodes 8 bits; it would scale or cut deeper values."""

from functools import partial
from io import BytesIO

import numpy as np
from PIL import PpmImagePlugin

from cddfuse.io.decoders.base import Encoded, Pixels
from cddfuse.io.decoders.pillow import flattened
from cddfuse.io.directories import Data

_SPACE = b" \t\n\v\f\r"


def netpbm(data: Data) -> Encoded:
    """A file whose magic number is P1 to P6, Pf or PF."""
    magic = bytes(data[1:2])
    count = 2 if magic in b"14" else 3
    words, body = _words(data, count)
    width, height = int(words[0]), int(words[1])
    if magic in b"fF":
        shape = (height, width, 3) if magic == b"F" else (height, width)
        order = "<" if float(words[2]) < 0 else ">"
        pixels = partial(_floats, data, body, shape, order)
        return Encoded(width, height, 32, "f", pixels)
    white = int(words[2]) if count == 3 else 1
    if white <= 255:
        return Encoded(width, height, 8, "u", lambda: _by_pillow(data))
    shape = (height, width, 3) if magic in b"36" else (height, width)
    if white > 65535:
        raise ValueError(f"its maxval is {white}")
    pixels = partial(_levels, data, body, shape, white, plain=magic in b"23")
    return Encoded(width, height, 16, "u", pixels, white=white)


def _words(data: Data, count: int) -> tuple[list[bytes], int]:
    """The numbers of the header, and where the pixels start: after one white space."""
    words: list[bytes] = []
    at = 2
    while len(words) < count:
        while data[at] in _SPACE or data[at] == ord("#"):
            at = data.find(b"\n", at) if data[at] == ord("#") else at + 1
            if at < 0:
                raise ValueError("the header does not end")
        end = at
        while data[end] not in _SPACE:
            end += 1
        words.append(bytes(data[at:end]))
        at = end
    return words, at + 1


def _by_pillow(data: Data) -> Pixels:
    return flattened(PpmImagePlugin.PpmImageFile(BytesIO(data)))


def _levels(data: Data, body: int, shape: tuple[int, ...], white: int, plain: bool) -> Pixels:
    count = int(np.prod(shape))
    if plain:
        values = np.array(data[body:].split()[:count], np.uint16)
    else:
        values = np.frombuffer(data, ">u2", count, body).astype(np.uint16)
    if values.max(initial=0) > white:
        raise ValueError(f"a value is above its maxval, {white}")
    return values.reshape(shape)


def _floats(data: Data, body: int, shape: tuple[int, ...], order: str) -> Pixels:
    values = np.frombuffer(data, f"{order}f4", int(np.prod(shape)), body)
    return values.astype(np.float32).reshape(shape)[::-1]  # the last row comes first
