"""The one drawing of a scene that both images are developed from.

Nothing here knows light or sensors: a pixel of the canvas holds what is there, that is its colour,
its temperature, the light it sends out itself, where it lies and to whom it belongs.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from cddfuse.datasets.synthetic.camera import Array, Camera, Points
from cddfuse.datasets.synthetic.scene import CLASSES, LABELS

Colour = tuple[float, float, float]
Vector = tuple[float, float, float]
Ball = tuple[Vector, float]
"""A centre in the world and a radius, in metres."""

SKY_TEMPERATURE = -22.0
TOWARDS_CAMERA: Vector = (0, 0, -1)
UP: Vector = (0, 1, 0)

_SHIFT = 4
_FAR = 1e5
# A rounded body, from its rim to its middle: share of the radius, brightness, degrees added.
_ROUND = ((1.0, 0.72, -1.6), (0.74, 0.95, 0.0), (0.42, 1.15, 0.7))
_PLAIN = ((1.0, 0.95, -0.3),)
_NO_RIM_BELOW = 2.0
_ANGLES = np.linspace(0, 2 * np.pi, 18, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)


class Material(NamedTuple):
    """Properties of a surface in visible light and in infrared."""

    colour: Colour
    """Linear reflectance (red, green, blue)."""
    temperature: float
    """Degrees Celsius."""
    emissivity: float = 0.95
    """Emissivity. Bare metal and glass have less than other surfaces and reflect the cold sky."""
    glow: Colour = (0, 0, 0)
    """Emitted light, in units of a white wall below a street lamp."""

    @property
    def apparent_temperature(self) -> float:
        """Apparent temperature."""
        return self.emissivity * self.temperature + (1 - self.emissivity) * SKY_TEMPERATURE


class Texture(NamedTuple):
    """A flat texture placed in the world, first row on top."""

    surface: Array
    """(h, w, 4): red, green, blue, apparent temperature."""
    glow: Array
    """(h, w, 3)."""
    inside: Array
    """(h, w), opacity: 1 is opaque, 0 is cut away."""


class Canvas:
    """Buffers of the size of the camera's image, painted from far to near."""

    def __init__(self, camera: Camera) -> None:
        shape = camera.height, camera.width
        self.camera = camera
        self.surface: Array = np.zeros((*shape, 4), np.float32)
        self.glow: Array = np.zeros((*shape, 3), np.float32)
        self.normal: Array = np.zeros((*shape, 4), np.float32)
        """Surface normal, and the share of diffuse light."""
        self.distance: Array = np.full(shape, _FAR, np.float32)
        self.classes: npt.NDArray[np.uint8] = np.zeros(shape, np.uint8)
        self.owners: npt.NDArray[np.int32] = np.zeros(shape, np.int32)
        self.labels: list[str] = []
        self._owner = self._class = 0

    def start(self, name: str) -> None:
        """Set the class of what is drawn next; each call with a label starts a new object."""
        self._class, self._owner = CLASSES.index(name), 0
        if name in LABELS:
            self.labels.append(name)
            self._owner = len(self.labels)

    def fill(
        self,
        outline: Points,
        material: Material,
        distance: float,
        normal: Vector = TOWARDS_CAMERA,
        soft: float = 0.25,
    ) -> None:
        """Fill a polygon (N, 2) of the image."""
        corners = _fixed_point(outline)
        _polygon(self.surface, corners, *material.colour, material.apparent_temperature)
        _polygon(self.glow, corners, *material.glow)
        _polygon(self.normal, corners, *normal, soft)
        _polygon(self.distance, corners, distance)
        _polygon(self.classes, corners, self._class)
        _polygon(self.owners, corners, self._owner)

    def face(
        self, corners: Sequence[Vector], material: Material, normal: Vector = TOWARDS_CAMERA
    ) -> None:
        """Fill a small flat polygon of the world, at the depth of its centre."""
        points = np.asarray(corners, np.float64)
        self.fill(self.camera.project(points), material, float(points[:, 2].mean()), normal)

    def body(self, balls: Sequence[Ball], material: Material) -> None:
        """Fill the convex hull of spheres, with a darker and cooler rim."""
        centres = np.array([centre for centre, _ in balls], np.float64)
        radii = np.array([radius for _, radius in balls]) * self.camera.focal / centres[:, 2]
        middles = self.camera.project(centres)
        small = radii.max() < _NO_RIM_BELOW
        for share, brightness, degrees in _PLAIN if small else _ROUND:
            rims = middles[:, None] + _CIRCLE * (share * radii[:, None, None])
            hull = cv2.convexHull(rims.reshape(-1, 2).astype(np.float32))[:, 0]
            red, green, blue = (brightness * value for value in material.colour)
            layer = material._replace(
                colour=(red, green, blue), temperature=material.temperature + degrees
            )
            self.fill(hull.astype(np.float64), layer, float(centres[:, 2].mean()), soft=0.45)

    def hang(self, corners: Sequence[Vector], texture: Texture, normal: Vector) -> None:
        """Map a texture between four points: bottom left, bottom right, top left, top right."""
        points = np.asarray(corners, np.float64)
        outline = self.camera.project(points)
        box = self.box(outline)
        if box is None:
            return
        rows, columns = box
        mask = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
        local = outline - (columns.start, rows.start)
        _polygon(mask, _fixed_point(local[[0, 1, 3, 2]]), 1)
        height, width = texture.surface.shape[:2]
        flat = np.array([[0, height], [width, height], [0, 0], [width, 0]], np.float32)
        warp = cv2.getPerspectiveTransform(flat - 0.5, local.astype(np.float32))
        surface, glow, inside = (
            np.asarray(
                cv2.warpPerspective(layer, warp, mask.shape[::-1], borderMode=cv2.BORDER_REPLICATE),
                np.float32,
            )
            for layer in texture
        )
        keep = (mask > 0) & (inside > 0.5)
        self.stamp(box, keep, surface, glow, self._plane(outline, points, box), normal)

    def stamp(
        self,
        box: tuple[slice, slice],
        mask: npt.NDArray[np.bool_],
        surface: Array,
        glow: Array,
        distance: Array,
        normal: Vector,
        soft: float = 0.1,
    ) -> None:
        """Write arrays of the size of the box where the mask is set."""
        chosen = mask.astype(np.uint8)
        facing = np.empty_like(surface)
        facing[:] = (*normal, soft)
        cv2.copyTo(surface, chosen, self.surface[box])
        cv2.copyTo(glow, chosen, self.glow[box])
        cv2.copyTo(facing, chosen, self.normal[box])
        cv2.copyTo(distance, chosen, self.distance[box])
        self.classes[box][mask] = self._class
        self.owners[box][mask] = self._owner

    def shade(self, outline: Points, share: float) -> None:
        """Multiply the colours inside a polygon by a factor below 1."""
        box = self.box(outline)
        if box is None:
            return
        rows, columns = box
        light = np.ones((rows.stop - rows.start, columns.stop - columns.start), np.float32)
        _polygon(light, _fixed_point(outline - (columns.start, rows.start)), share)
        self.surface[box][..., :3] *= light[..., None]

    def box(self, outline: Points) -> tuple[slice, slice] | None:
        """The pixels around an outline that are inside the image, if any."""
        size = np.array([self.camera.width, self.camera.height])
        low = np.clip(np.floor(outline.min(0)) - 1, 0, size).astype(int)
        high = np.clip(np.ceil(outline.max(0)) + 2, 0, size).astype(int)
        if (low >= high).any():
            return None
        return slice(low[1], high[1]), slice(low[0], high[0])

    @staticmethod
    def _plane(outline: Points, points: Points, box: tuple[slice, slice]) -> Array:
        """Distances of a plane, whose reciprocals are linear in the image."""
        equations = np.column_stack([outline[:3], np.ones(3)])
        across, down, start = np.linalg.solve(equations, 1 / points[:3, 2])
        rows, columns = box
        row = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]
        column = np.arange(columns.start, columns.stop, dtype=np.float32)
        inverse = np.float32(across) * column + np.float32(down) * row + np.float32(start)
        return (1 / np.maximum(inverse, 1 / _FAR)).astype(np.float32)


def _fixed_point(outline: Points) -> npt.NDArray[np.int32]:
    """Corners in sixteenths of a pixel, as OpenCV takes them."""
    clipped = np.minimum(np.maximum(outline, -3e4), 3e4)
    return np.rint(clipped * 2**_SHIFT).astype(np.int32)


def _polygon(array: cv2.typing.MatLike, corners: npt.NDArray[np.int32], *value: float) -> None:
    cv2.fillPoly(array, [corners], value, cv2.LINE_8, _SHIFT)
