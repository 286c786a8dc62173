"""A transform from points that correspond."""

import torch
from torch import Tensor

from cddfuse.errors import InputError
from cddfuse.registration import geometry
from cddfuse.registration.geometry import Size
from cddfuse.registration.refine import Kind
from cddfuse.registration.transform import Transform

FEWEST = {"similarity": 2, "affine": 3, "homography": 4}


def from_points(
    points: Tensor, first: Size, second: Size, kind: Kind = "similarity"
) -> tuple[Transform, Tensor]:
    """The transform that fits points best, in least squares.

    Args:
        points: (N, 4), each x and y in the first image and x and y in the second, in pixels.
        first: height and width of the first image.
        second: likewise of the second.
        kind: what is fitted; 2, 3 or 4 points are needed at least.

    Returns:
        The transform, and the distance (N,) in pixels of the second image by which it misses each
        point.
    """
    if len(points) < FEWEST[kind]:
        raise InputError(
            f"{len(points)} points were given, and {FEWEST[kind]} are needed for a {kind}: give "
            "more.",
            setting="points",
        )
    for name, place, size in (("first", points[:, :2], first), ("second", points[:, 2:], second)):
        limits = torch.tensor(size[::-1], dtype=torch.float64) - 0.5
        if not ((place >= -0.5) & (place <= limits)).all():
            raise InputError(
                f"a point lies outside of the {name} image, which is {size[1]}x{size[0]}: check "
                "the points.",
                setting="points",
            )
    sides = [_normal(points[:, :2]), _normal(points[:, 2:])]
    x, y = geometry.mapped(sides[0], points[:, :2]).T
    u, v = geometry.mapped(sides[1], points[:, 2:]).T
    left, right = _equations(kind, x, y, u, v)
    if torch.linalg.matrix_rank(left, rtol=1e-6) < left.shape[1]:
        raise InputError(
            f"the points do not fix a {kind}: give more, that do not lie on one line.",
            setting="points",
        )
    fitted = _rows(kind, torch.linalg.lstsq(left, right[:, None]).solution[:, 0])
    matrix = sides[1].inverse() @ fitted @ sides[0]
    transform = Transform.of(kind, matrix, first, second)
    missed = geometry.mapped(matrix, points[:, :2]) - points[:, 2:]
    known = {**vars(transform), "method": "points"}
    return Transform(**known), missed.norm(dim=1)


def _normal(points: Tensor) -> Tensor:
    """Brings points to the origin and to a spread of 1, for the sake of conditioning."""
    x, y = points.mean(0).tolist()
    spread = float((points - points.mean(0)).norm(dim=1).mean()) or 1.0
    return geometry.matrix([[1 / spread, 0, -x / spread], [0, 1 / spread, -y / spread], [0, 0, 1]])


def _equations(kind: Kind, x: Tensor, y: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    columns = {
        "similarity": ((x, -y, one, zero), (y, x, zero, one)),
        "affine": ((x, y, one, zero, zero, zero), (zero, zero, zero, x, y, one)),
        "homography": (
            (x, y, one, zero, zero, zero, -u * x, -u * y),
            (zero, zero, zero, x, y, one, -v * x, -v * y),
        ),
    }
    left = torch.cat([torch.stack(side, 1) for side in columns[kind]])
    return left, torch.cat((u, v))


def _rows(kind: Kind, solution: Tensor) -> Tensor:
    values = solution.tolist()
    if kind == "similarity":
        a, b, x, y = values
        return geometry.matrix([[a, -b, x], [b, a, y], [0, 0, 1]])
    tilt = values[6:] or [0.0, 0.0]
    return geometry.matrix([values[:3], values[3:6], [*tilt, 1]])
