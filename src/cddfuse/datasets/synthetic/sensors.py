"""Sensor models: the images of a colour camera and of a thermal camera."""

import cv2
import numpy as np

from cddfuse.datasets.synthetic.camera import Array
from cddfuse.datasets.synthetic.canvas import Canvas
from cddfuse.datasets.synthetic.light import Light, irradiance
from cddfuse.datasets.synthetic.texture import resized

_EXPOSURE = 1.9
_HAZE, _SKY_FROM = 260.0, 1e4
_COLDEST, _HOTTEST = -24.0, 38.0


def visible(
    canvas: Canvas, lights: list[Light], factor: int, generator: np.random.Generator
) -> Array:
    """The colour image (h, w, 3), smaller than the canvas by `factor`."""
    # One look at the light per pixel of the image is enough: edges come from the drawing.
    image = _shrink(canvas.surface[..., :3], factor) * irradiance(canvas, lights, factor)
    image += _shrink(canvas.glow, factor)
    far = canvas.distance[factor // 2 :: factor, factor // 2 :: factor, None]
    veil = np.where(far < _SKY_FROM, 1 - np.exp(-far / np.float32(_HAZE)), 0).astype(np.float32)
    image += veil * (np.array([0.016, 0.013, 0.013], np.float32) - image)
    height, width = image.shape[:2]
    image = _blurred(_bloom(image), 0.45 + 0.25 * min(width / 640, 2))
    image *= _vignette(height, width, 0.35)[..., None]
    image = _EXPOSURE * image
    # Photons arrive by chance, the amplifier adds its own: the first grows with the light.
    shot = generator.standard_normal(image.shape, np.float32) * np.sqrt(image * np.float32(4e-4))
    read = generator.standard_normal(image.shape, np.float32) * np.float32(0.0028)
    image = image + _blurred(shot + read, 0.6) * np.float32(1.4)
    response: Array = (1 - np.exp(-np.maximum(image, 0))) ** np.float32(1 / 2.2)
    return response


def infrared(canvas: Canvas, factor: int, generator: np.random.Generator) -> Array:
    """The thermal image (h, w), smaller than the canvas by `factor`."""
    degrees = _shrink(canvas.surface[..., 3], factor)
    far = _shrink(np.minimum(canvas.distance, 300), factor)
    degrees = np.where(far < 299, 7 + (degrees - 7) * np.exp(-far / np.float32(320)), degrees)
    height, width = degrees.shape
    degrees = _blurred(degrees, 0.55 + 0.5 * min(width / 640, 2))
    halo = degrees - _blurred(degrees, max(width / 40, 1))
    degrees = degrees + np.float32(0.12) * halo
    columns = generator.standard_normal(width, np.float32) * np.float32(0.15)
    rows = generator.standard_normal((height, 1), np.float32) * np.float32(0.08)
    grain = generator.standard_normal(degrees.shape, np.float32) * np.float32(0.25)
    edges = np.float32(1.2) * (1 - _vignette(height, width, 1.0))
    return _tone(degrees + columns + rows + grain - edges)


def _tone(degrees: Array) -> Array:
    """Degrees to [0, 1]: steepest where streets are, flatter for the sky and for hot things."""
    known = np.array([_COLDEST, -12, 0, 4, 8, 11, 15, 20, 28, _HOTTEST], np.float32)
    grey = np.array([0.03, 0.10, 0.16, 0.24, 0.38, 0.50, 0.64, 0.77, 0.92, 1.0], np.float32)
    return np.interp(degrees, known, grey).astype(np.float32)


def _shrink(image: Array, factor: int) -> Array:
    return resized(image, image.shape[0] // factor, image.shape[1] // factor, cv2.INTER_AREA)


def _blurred(image: Array, sigma: float) -> Array:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)


def _bloom(image: Array) -> Array:
    """Bloom: lenses and wet air scatter the brightest light."""
    height, width = image.shape[:2]
    bright = np.maximum(image - 0.6, 0)
    total = image.copy()
    for share, sigma in ((0.22, width / 250), (0.13, width / 60), (0.08, width / 14)):
        step = max(int(sigma / 3), 1)
        small = resized(bright, max(height // step, 1), max(width // step, 1), cv2.INTER_AREA)
        spread = _blurred(small, max(sigma / step, 0.3))
        total += np.float32(share) * resized(spread, height, width, cv2.INTER_LINEAR)
    return total


def _vignette(height: int, width: int, strength: float) -> Array:
    rows = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, width, dtype=np.float32)
    corners: Array = (rows * rows + columns * columns) ** np.float32(1.3)
    return 1 - np.float32(strength / 4) * corners
