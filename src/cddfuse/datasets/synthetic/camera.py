"""Position and projection of the camera: a pinhole model looking along the street.

World coordinates in metres: x to the right of the centre line, y above the road, z along the
street, away from the camera, which stands at z = 0.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]
Array = npt.NDArray[np.float32]

_NEAREST = 0.5


class Camera(NamedTuple):
    """A level camera; lengths in the image are in pixels of the canvas, not of the final image."""

    width: int
    height: int
    focal: float
    centre: float
    """Column of the vanishing point of the street."""
    horizon: float
    """Row of the horizon."""
    x: float
    eye: float
    """Height above the road, in metres."""

    def project(self, points: Points) -> Points:
        """World points (N, 3) to columns and rows (N, 2)."""
        scale = self.focal / np.maximum(points[:, 2], _NEAREST)
        image = np.empty((len(points), 2))
        image[:, 0] = self.centre + (points[:, 0] - self.x) * scale
        image[:, 1] = self.horizon - (points[:, 1] - self.eye) * scale
        return image

    def ground(self) -> tuple[Array, Array]:
        """World x and z of the road plane, for each pixel of the rows below the horizon."""
        first = max(int(np.ceil(self.horizon + 0.5)), 0)
        rows = np.arange(first, self.height, dtype=np.float32)[:, None]
        z = np.float32(self.focal * self.eye) / (rows - np.float32(self.horizon))
        columns = np.arange(self.width, dtype=np.float32)
        x = (columns - np.float32(self.centre)) * (z / np.float32(self.focal)) + np.float32(self.x)
        return x, np.broadcast_to(z, x.shape)

    def sees(self, x: float, z: float, margin: float = 0.9) -> bool:
        """Whether a point is between the edges, of which `margin` is the share that counts."""
        column = self.centre + self.focal * (x - self.x) / z
        return abs(column - self.width / 2) < margin * self.width / 2
