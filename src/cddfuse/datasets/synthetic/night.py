"""Render a street at night for both cameras."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from cddfuse.datasets.synthetic.camera import Camera
from cddfuse.datasets.synthetic.canvas import Canvas
from cddfuse.datasets.synthetic.cars import HALF_WIDTH, LENGTH, car_lights, draw_car
from cddfuse.datasets.synthetic.figures import draw_person
from cddfuse.datasets.synthetic.furniture import draw_lamp, draw_sign, draw_tree
from cddfuse.datasets.synthetic.ground import draw_ground, draw_sky, shadow
from cddfuse.datasets.synthetic.houses import draw_buildings
from cddfuse.datasets.synthetic.layout import Street, street, viewpoint
from cddfuse.datasets.synthetic.light import Light
from cddfuse.datasets.synthetic.scene import Scene, visible_objects
from cddfuse.datasets.synthetic.sensors import infrared, visible
from cddfuse.errors import InputError
from cddfuse.pair import ImagePair

_SMALLEST = 32
_LARGE = 200_000


def night_street(seed: int, size: tuple[int, int] = (480, 640)) -> Scene:
    """A street at night: lit and dark parts, persons, cars, lamps, signs and trees, with labels.

    Both images are made from one drawing, so they are registered to the pixel. Paint, print and
    light show in the visible image only; persons and engines in the dark in the infrared one only.

    Args:
        seed: chooses the street. The same seed gives the same street at any size of the same shape.
        size: height and width, 32 or more each.
    """
    if min(size) < _SMALLEST:
        raise InputError(f"size is {size}, height and width must be at least {_SMALLEST}")
    factor = 2 if size[0] * size[1] >= _LARGE else 3
    plan, detail, first, second = np.random.default_rng(seed).spawn(4)
    camera = viewpoint(plan, size[0] * factor, size[1] * factor)
    scenery = street(plan, camera)
    canvas, lights = _draw(camera, scenery, detail)
    lights += scenery.lamp_lights() + [light for car in scenery.cars for light in car_lights(car)]
    colours = visible(canvas, lights, factor, first).transpose(2, 0, 1)
    heat = infrared(canvas, factor, second)[None]
    pair = ImagePair(
        torch.from_numpy(np.ascontiguousarray(colours)), torch.from_numpy(heat), f"scene-{seed:04d}"
    )
    middle = slice(factor // 2, None, factor)
    classes = torch.from_numpy(canvas.classes[middle, middle].astype(np.int64))
    objects = visible_objects(canvas.owners[middle, middle], tuple(canvas.labels))
    return Scene(pair, objects, classes)


def _draw(
    camera: Camera, scenery: Street, generator: np.random.Generator
) -> tuple[Canvas, list[Light]]:
    """Paint everything from far to near. Returns all lights, those of shops included."""
    canvas = Canvas(camera)
    sky, ground, houses, rest = generator.spawn(4)
    draw_sky(canvas, sky)
    draw_ground(canvas, scenery, ground)
    lights = draw_buildings(canvas, scenery, houses.spawn(len(scenery.buildings)))
    for car in scenery.cars:
        shadow(canvas, car.x, car.z, HALF_WIDTH, LENGTH / 2)
    for person in scenery.persons:
        shadow(canvas, person.x, person.z, 0.2, 0.2)
    # Nothing that stands between the houses can be hidden by one, so these come after all houses.
    standing: list[tuple[float, Callable[[], None]]] = []
    standing += [(lamp.z, partial(draw_lamp, canvas, lamp, scenery)) for lamp in scenery.lamps]
    standing += [(car.z, partial(draw_car, canvas, car)) for car in scenery.cars]
    for tree in scenery.trees:
        standing.append((tree.z, partial(draw_tree, canvas, tree, scenery, *rest.spawn(1))))
    for sign in scenery.signs:
        standing.append((sign.z, partial(draw_sign, canvas, sign, scenery, *rest.spawn(1))))
    for person in scenery.persons:
        standing.append((person.z, partial(draw_person, canvas, person, *rest.spawn(1))))
    for _, draw in sorted(standing, key=lambda item: -item[0]):
        draw()
    return canvas, lights
