"""Random changes of training images, given the numbers that decide on them.

All are bit for bit the same on any number of threads, as teachers know a crop by its bits.
"""

import math

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

VEIL = 2 + 4 * 4
"""Numbers that make a veil: level, opacity, and where it is thick."""

_KNOTS = 6  # of a response, from black to white
_TILES = (4, 4)  # of local equalisation


def jittered(image: Tensor, amounts: tuple[float, ...]) -> Tensor:
    """An image with other contrast and brightness, by these shares."""
    gain, offset = amounts
    # Of NumPy, as the last bit of PyTorch's depends on the threads.
    middle = float(image.numpy().mean(dtype=np.float64))
    return torch.clamp((image - middle) * (1 + gain) + middle * (1 + offset), 0, 1)


def veiled(image: Tensor, numbers: NDArray[np.float64]) -> Tensor:
    """An image (1, H, W) behind smoke or glare, thick in some places and thin in others.

    Args:
        image: in [0, 1].
        numbers: what the veil is made of, `VEIL` of them, uniform in [0, 1].
    """
    level, thickest, thickness = 0.4 + 0.6 * numbers[0], 0.5 + 0.5 * numbers[1], numbers[2:]
    side = math.isqrt(len(thickness))
    coarse = torch.from_numpy(thickness).float().view(1, 1, side, side)
    cover = F.interpolate(coarse, size=image.shape[-2:], mode="bicubic", align_corners=True)[0]
    opacity = thickest * cover.clamp(0, 1)
    return image * (1 - opacity) + level * opacity


def taken(image: Tensor, seed: int) -> Tensor:
    """An image (1, H, W) in [0, 1] as another camera could have given it.

    Its response is a gamma between 0.4 and 2.5, of two in five after a curve that rises at random.
    One in four sees other light, as many equalise locally (CLAHE), one in five is out of focus, one
    in ten gives negatives, as black-hot infrared. Three in five have a black level above 0, as many
    a white level below 1, and three in ten have noise.
    """
    random = np.random.default_rng(seed)
    curved, lit, equal, blurred, negative, raised, lowered, noisy = (
        random.random(8) < (0.4, 0.25, 0.25, 0.2, 0.1, 0.6, 0.6, 0.3)
    ).tolist()
    levels = image.numpy()[0].astype(np.float64)
    if lit:
        levels = np.clip(levels * _light(levels.shape, random), 0, 1)
    if blurred:
        levels = cv2.GaussianBlur(levels, (0, 0), random.uniform(0.5, 2))
    if curved:
        levels = _response(levels, random)
    levels = levels ** math.exp(random.uniform(-0.9, 0.9))
    if equal:
        levels = _equalised(levels, random.uniform(1, 6))
    if negative:
        levels = 1 - levels
    low, high = 0.3 * random.random() * raised, 1 - 0.4 * random.random() * lowered
    levels = low + (high - low) * levels
    if noisy:
        levels += random.normal(0, 0.03 * random.random(), levels.shape)
    return torch.from_numpy(np.clip(levels, 0, 1).astype(np.float32))[None]


def _light(shape: tuple[int, ...], random: np.random.Generator) -> NDArray[np.float64]:
    """The light that falls where: 0.55 to 1.8 times as much."""
    coarse = np.exp(random.uniform(-0.6, 0.6, (3, 3)))
    light = cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(light, np.float64)


def _response(levels: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    knots = np.sort(random.random(_KNOTS))
    knots -= knots[0] * random.random()
    knots /= knots[-1]
    return np.interp(levels, np.linspace(0, 1, _KNOTS), knots)


def _equalised(levels: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    equalise = cv2.createCLAHE(limit, _TILES)
    return np.asarray(equalise.apply(np.round(levels * 255).astype(np.uint8)), np.float64) / 255
