"""The transform between two images: draw the second in the frame of the first."""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor

from cddfuse.errors import InputError
from cddfuse.pair import ImagePair
from cddfuse.registration import geometry
from cddfuse.registration.geometry import Size
from cddfuse.registration.refine import Kind

_FEATHER = 0.1  # width of the blend, in shorter sides of the first image
_NARROWEST = 8.0  # pixels of the blend
_BAND = 2**20  # pixels that are drawn at a time
_EPSILON = 1e-9

Rows = tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Transform:
    """Where each pixel of the first image lies in the second, and what is known about it."""

    kind: Kind
    matrix: Rows
    """Homogeneous pixel coordinates (x, y, 1) of the first image to those of the second; the centre
    of the top left pixel is (0, 0)."""

    first: tuple[int, int]
    """Width and height of the first image."""

    second: tuple[int, int]
    """Width and height of the second."""

    method: Literal["mind", "points"] = "mind"
    confidence: float | None = None
    """Correlation of the descriptors of both images; None for points."""

    def __post_init__(self) -> None:
        """Refuse matrices that do not draw an image."""
        values = self.tensor
        if values.shape != (3, 3) or not values.isfinite().all():
            raise InputError("the matrix of a transform has 3 rows of 3 finite numbers.")
        frame = geometry.corners(self.first[::-1])
        depth = (F.pad(frame, (0, 1), value=1.0) @ values.T)[:, 2]
        turn = torch.linalg.det(values) * depth[0].sign() ** 3
        if not (depth * depth[0] > _EPSILON).all() or not turn > _EPSILON:
            raise InputError(
                "the transform folds, mirrors or collapses the image: align the pair once more."
            )

    @property
    def tensor(self) -> Tensor:
        """The matrix, (3, 3), float64."""
        return torch.tensor(self.matrix, dtype=torch.float64)

    @property
    def shift(self) -> float:
        """Mean distance in pixels of the first image from where the second lies without it."""
        width, height = self.first
        nominal = geometry.scaling(self.second[0] / width, self.second[1] / height)
        away = nominal.inverse() @ self.tensor
        return float(geometry.distance(away, torch.eye(3, dtype=torch.float64), (height, width)))

    def require(self, side: str, size: tuple[int, int], label: str = "") -> None:
        """Refuse images of other sizes: width and height of the `first` or `second` side."""
        asked = getattr(self, side)
        if size != asked:
            raise InputError(
                f"{label}the {side} image is {size[0]}x{size[1]}, and the transform is for "
                f"{asked[0]}x{asked[1]}: align a pair of these sizes.",
                setting="transform",
            )

    @classmethod
    def of(cls, kind: Kind, matrix: Tensor, first: Size, second: Size) -> "Transform":
        """A transform of a matrix (3, 3), for images of these heights and widths."""
        rows = (matrix / matrix[2, 2]).tolist()
        return cls(kind, tuple(tuple(row) for row in rows), first[::-1], second[::-1])


class Drawn(NamedTuple):
    """The second image in the frame of the first."""

    image: Tensor
    """(C, H, W), with its borders repeated where it ends."""

    covered: Tensor | None
    """(1, H, W): 1 where the second image shows the scene, 0 where it does not, and a smooth ramp
    in between, which lies inside. None if it shows all of it."""


def draw(transform: Transform, pair: ImagePair) -> Drawn:
    """Draw the second image of a pair in the frame of the first.

    Args:
        transform: for images of these sizes.
        pair: two images (C, H, W) of any size.

    Raises:
        InputError: it was made for images of other sizes.
    """
    label = f"pair {pair.name}: " if pair.name else ""
    for side, image in (("first", pair.first), ("second", pair.second)):
        transform.require(side, (image.shape[-1], image.shape[-2]), label)
    size: Size = (pair.first.shape[-2], pair.first.shape[-1])
    matrix, second = transform.tensor, pair.second[None].float()
    coarser = _enlargement(matrix, size)
    if coarser > 1:  # shrink first: samples far apart would alias
        sides = (max(1, round(side / coarser)) for side in second.shape[-2:])
        second, change = geometry.resized(second, (next(sides), next(sides)))
        matrix = change @ matrix
    source: Size = (second.shape[-2], second.shape[-1])
    rows = max(1, _BAND // size[1])
    drawn, inside = [], []
    for top in range(0, size[0], rows):
        band = (min(rows, size[0] - top), size[1])
        grid = geometry.grids((matrix @ geometry.translation(0, top))[None], band, source)
        part = F.grid_sample(second, grid, "bicubic", "border", align_corners=True)
        drawn.append(part[0])
        inside.append(_inside(grid[0], source))
    image = torch.cat(drawn, 1).clamp(0, 1).to(pair.second.dtype)
    return Drawn(image, _ramp(torch.cat(inside)))


def _inside(grid: Tensor, source: Size) -> Tensor:
    """Whether the points of a grid lie on the pixels of an image, to their outer edges."""
    limits = torch.tensor([1 + (1 + 1e-3) / max(side - 1, 1) for side in source[::-1]])
    return (grid.abs() <= limits).all(-1)


def _ramp(inside: Tensor) -> Tensor | None:
    """The weight (1, H, W) of a mask (H, W), rising with the distance from what is outside."""
    if inside.all():
        return None
    mask = inside.to(torch.uint8).numpy()
    away = torch.from_numpy(cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE))
    share = (away / max(_NARROWEST, _FEATHER * min(inside.shape))).clamp(0, 1)
    return (share * share * (3 - 2 * share))[None]


def _enlargement(matrix: Tensor, size: Size) -> float:
    """Pixels of the second image per pixel of the first, at the centre."""
    x, y = geometry.centre(size)
    near = torch.tensor(((x, y), (x + 1, y), (x, y + 1)), dtype=torch.float64)
    origin, right, below = geometry.mapped(matrix, near)
    return math.sqrt(abs(float(torch.linalg.det(torch.stack((right - origin, below - origin))))))
