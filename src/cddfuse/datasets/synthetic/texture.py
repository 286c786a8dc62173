"""Procedural textures: grain, clouds, stains and lettering."""

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cddfuse.datasets.synthetic.camera import Array

_LATTICE = 256


def resized(image: Array, height: int, width: int, interpolation: int) -> Array:
    """Resize by one of OpenCV's interpolations."""
    return np.asarray(cv2.resize(image, (width, height), interpolation=interpolation), np.float32)


def fractal(
    generator: np.random.Generator, height: int, width: int, coarsest: float, octaves: int = 4
) -> Array:
    """Smooth noise (height, width) about 0 with deviation 1, from `coarsest` pixels downwards."""
    cell = max(coarsest, 1.0)
    rows, columns = int(height / cell) + 3, int(width / cell) + 3
    total: Array = generator.standard_normal((rows, columns)).astype(np.float32)
    for octave in range(1, octaves):
        if cell < 2:
            break
        cell, rows, columns = cell / 2, 2 * rows, 2 * columns
        total = resized(total, rows, columns, cv2.INTER_CUBIC)
        total += generator.standard_normal((rows, columns)).astype(np.float32) * np.float32(
            0.6**octave
        )
    total /= max(float(total.std()), 1e-6)
    high, wide = max(round(rows * cell), height), max(round(columns * cell), width)
    return resized(total, high, wide, cv2.INTER_LINEAR)[:height, :width]


def ground_noise(
    generator: np.random.Generator, x: Array, z: Array, wavelength: float, footprint: Array
) -> Array:
    """Smooth noise in the coordinates of the road, fading where a pixel spans a wavelength.

    Args:
        x: metres across, any shape.
        z: metres along, like x.
        wavelength: metres.
        footprint: metres of road that a pixel covers, like x.
    """
    lattice = generator.standard_normal((_LATTICE, _LATTICE)).astype(np.float32)
    column = (x / np.float32(wavelength)) % (_LATTICE - 1)
    row = (z / np.float32(wavelength)) % (_LATTICE - 1)
    noise = cv2.remap(lattice, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return noise * np.clip(np.float32(0.5 * wavelength) / footprint, 0, 1)


def lettering(text: str, height: int, width: int) -> Array:
    """Text in capitals that fills a board: (height, width), 1 where there is ink."""
    font = ImageFont.load_default(size=96)
    left, top, right, bottom = font.getbbox(text)
    image = Image.new("L", (round(right - left) + 24, round(bottom - top) + 24))
    ImageDraw.Draw(image).text(
        (12 - left, 12 - top), text, fill=255, font=font, stroke_width=3, stroke_fill=255
    )
    ink = np.asarray(image, np.float32) / np.float32(255)
    return resized(ink, height, width, cv2.INTER_AREA)
