"""A synthetic scene in two modalities: the same outlines, brightness that has nothing in common."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from cddfuse.pair import ImagePair
from cddfuse.registration import geometry
from cddfuse.registration.geometry import Size

SIZE: Size = (180, 240)


def modalities(seed: int = 0, size: Size = SIZE, border: int = 60) -> ImagePair:
    """Discs in random places; each has its own brightness in each modality.

    At twice the resolution of `size`, with a border around what `view` shows.
    """
    draw = torch.Generator().manual_seed(seed)
    height, width = (2 * (side + 2 * border) for side in size)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    first, second = (torch.full((height, width), 0.5) for _ in range(2))
    for row, column, radius, one, other in torch.rand(160, 5, generator=draw).tolist():
        inside = (y - row * height) ** 2 + (x - column * width) ** 2 < (8 + 40 * radius) ** 2
        first[inside], second[inside] = one, other
    return ImagePair(first[None], second[None])


def view(
    scene: Tensor, matrix: Tensor | None = None, size: Size = SIZE, border: int = 60
) -> Tensor:
    """The image (1, H, W) of a camera whose pixel p shows what the first shows at matrix p."""
    inner = matrix if matrix is not None else torch.eye(3, dtype=torch.float64)
    around = geometry.translation(border, border) @ inner
    doubled = geometry.matrix([[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1]])
    blurred = F.avg_pool2d(scene[None], 3, 1, 1)
    return geometry.sampled(blurred, (doubled @ around)[None], size)[0][0]


def similarity(degrees: float, scale: float, x: float, y: float, size: Size = SIZE) -> Tensor:
    """Turned and scaled about the centre, then moved."""
    c, s = (scale * f(math.radians(degrees)) for f in (math.cos, math.sin))
    across, down = geometry.centre(size)
    turned = geometry.matrix([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    return (
        geometry.translation(across + x, down + y) @ turned @ geometry.translation(-across, -down)
    )


def unregistered(truth: Tensor, seed: int = 0) -> ImagePair:
    """A pair whose second image lies where `truth` says."""
    scene = modalities(seed)
    return ImagePair(view(scene.first), view(scene.second, truth.inverse()))
