"""How much light of street lamps and headlights reaches each pixel of a canvas."""

import math
from typing import NamedTuple

import numpy as np

from cddfuse.datasets.synthetic.camera import Array, Camera
from cddfuse.datasets.synthetic.canvas import Canvas, Colour, Vector

_NIGHT: Colour = (0.014, 0.015, 0.021)


class Light(NamedTuple):
    """A small light; `colour` times `power` arrives at a wall one metre away that faces it."""

    position: Vector
    colour: Colour
    power: float
    reach: float
    """Range in metres."""
    direction: Vector = (0, -1, 0)
    narrow: float = 0.5
    """Exponent of the cosine with the direction: 0.5 is a street lamp, 14 a headlight."""


def brightness_on_ground(lights: list[Light], x: float, z: float) -> float:
    """Illumination at a point of the pavement."""
    total = 0.0
    for light in lights:
        squared = (
            (light.position[0] - x) ** 2 + light.position[1] ** 2 + (light.position[2] - z) ** 2
        )
        total += light.power / squared * max(0.0, 1 - math.sqrt(squared) / light.reach)
    return total


def irradiance(canvas: Canvas, lights: list[Light], every: int) -> Array:
    """Red, green and blue light (h, w, 3) on what each `every`-th pixel of the canvas shows."""
    camera, middle = canvas.camera, slice(every // 2, None, every)
    depth = canvas.distance[middle, middle]
    normal = canvas.normal[middle, middle]
    columns = np.arange(camera.width, dtype=np.float32)[middle] - np.float32(camera.centre)
    rows = np.float32(camera.horizon) - np.arange(camera.height, dtype=np.float32)[middle]
    x = columns * depth / np.float32(camera.focal) + np.float32(camera.x)
    y = rows[:, None] * depth / np.float32(camera.focal) + np.float32(camera.eye)
    total = np.empty((*depth.shape, 3), np.float32)
    total[:] = _NIGHT
    for light in lights:
        box = slice(None), _columns_reached(camera, light, every)
        offsets = [
            light.position[0] - x[box],
            light.position[1] - y[box],
            light.position[2] - depth[box],
        ]
        squared = offsets[0] ** 2 + offsets[1] ** 2 + offsets[2] ** 2
        reached = squared < light.reach**2
        east, north, ahead = (offset[reached] for offset in offsets)
        distance = np.sqrt(squared[reached]) + np.float32(1e-3)
        facing = normal[box][reached]
        arriving = facing[:, 0] * east + facing[:, 1] * north + facing[:, 2] * ahead
        arriving = np.maximum(arriving / distance, 0) + facing[:, 3]
        towards = light.direction
        along = -(towards[0] * east + towards[1] * north + towards[2] * ahead) / distance
        fade = np.maximum(1 - distance / np.float32(light.reach), 0)
        arriving *= np.maximum(along, 0) ** np.float32(light.narrow) * np.float32(light.power)
        arriving *= fade * fade / (distance * distance + np.float32(0.5))
        total[box][reached] += arriving[:, None] * np.array(light.colour, np.float32)
    return total


def _columns_reached(camera: Camera, light: Light, every: int) -> slice:
    """The columns of the reduced image that a light can reach: few, for one far away."""
    nearest = light.position[2] - light.reach
    if nearest < 1:
        return slice(None)
    middle = light.position[0] - camera.x
    ends = [
        camera.centre + camera.focal * (middle + side * light.reach) / place
        for side in (-1, 1)
        for place in (nearest, nearest + 2 * light.reach)
    ]
    return slice(max(int(min(ends) / every) - 1, 0), max(int(max(ends) / every) + 2, 0))
