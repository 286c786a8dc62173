"""Random layout of a street, independent of the image size."""

import math
from typing import NamedTuple

import numpy as np

from cddfuse.datasets.synthetic.camera import Camera
from cddfuse.datasets.synthetic.canvas import Colour
from cddfuse.datasets.synthetic.light import Light, brightness_on_ground

_LAMP_COLOURS: tuple[Colour, ...] = ((1.0, 0.72, 0.38), (1.0, 0.6, 0.25), (1.0, 0.9, 0.72))
_PAINTS: tuple[Colour, ...] = (
    (0.03, 0.03, 0.035), (0.22, 0.23, 0.24), (0.55, 0.55, 0.54), (0.16, 0.015, 0.015),
    (0.015, 0.03, 0.12), (0.015, 0.055, 0.035), (0.06, 0.06, 0.07),
)  # fmt: skip


class Building(NamedTuple):
    """A house whose front is parallel to the street."""

    side: int
    """-1 is left, 1 is right, here and below."""
    start: float
    end: float
    height: float
    gabled: bool
    depth: float
    gable_shows: bool
    """Whether the wall towards the camera stands free of the house before it."""


class Lamp(NamedTuple):
    """A street lamp on the kerb."""

    side: int
    z: float
    height: float
    lit: bool
    colour: Colour


class Tree(NamedTuple):
    """A tree in the pavement."""

    side: int
    z: float
    height: float


class Sign(NamedTuple):
    """A traffic sign on a post."""

    side: int
    z: float
    kind: str


class Car(NamedTuple):
    """A car along the street. `leaving` shows its tail."""

    x: float
    z: float
    leaving: bool
    running: bool
    estate: bool
    paint: Colour


class Person(NamedTuple):
    """A pedestrian. `heading` is an angle: 0 walks right, a quarter turn walks away."""

    x: float
    z: float
    height: float
    heading: float
    phase: float


class Street(NamedTuple):
    """The whole street. Widths are from the centre line, in metres."""

    kerb: float
    wall: float
    """Where the houses begin."""
    crossing: float
    """Where the zebra begins; negative if there is none."""
    buildings: tuple[Building, ...]
    lamps: tuple[Lamp, ...]
    trees: tuple[Tree, ...]
    signs: tuple[Sign, ...]
    cars: tuple[Car, ...]
    persons: tuple[Person, ...]

    def lamp_lights(self) -> list[Light]:
        """The lights of the lamps that are lit."""
        return [
            Light((lamp.side * (self.kerb - 1.0), lamp.height - 0.15, lamp.z), lamp.colour, 80, 28)
            for lamp in self.lamps
            if lamp.lit
        ]


def viewpoint(generator: np.random.Generator, height: int, width: int) -> Camera:
    """A hand-held camera in the street."""
    x = generator.choice([-2.6, -1.2, 1.3, 2.4]) + generator.uniform(-0.4, 0.4)
    return Camera(
        width=width,
        height=height,
        focal=0.82 * math.sqrt(width * height * 4 / 3),
        centre=width * (0.5 + 0.035 * x + generator.uniform(-0.04, 0.04)),
        horizon=height * generator.uniform(0.44, 0.5),
        x=float(x),
        eye=generator.uniform(1.6, 2.1),
    )


def street(generator: np.random.Generator, camera: Camera) -> Street:
    """Lay out a street, with cars and persons in view of the camera."""
    kerb = generator.uniform(4.9, 5.8)
    wall = kerb + generator.uniform(3.0, 4.2)
    lamps = _lamps(generator)
    bare = Street(
        kerb=kerb,
        wall=wall,
        crossing=generator.uniform(9, 20) if generator.random() < 0.55 else -1,
        buildings=tuple(_buildings(generator, -1) + _buildings(generator, 1)),
        lamps=lamps,
        trees=_trees(generator, lamps),
        signs=_signs(generator),
        cars=(),
        persons=(),
    )
    cars = _cars(generator, bare, camera)
    return bare._replace(cars=cars, persons=_persons(generator, bare, cars, camera))


def _buildings(generator: np.random.Generator, side: int) -> list[Building]:
    row, z, covered = [], generator.uniform(2, 5), 0.0
    while z < 120:
        length = generator.uniform(9, 19)
        gabled = generator.random() < 0.35
        floors = generator.integers(2, 4) if gabled else generator.integers(2, 6)
        height = 1.0 + 3.1 * floors
        depth, shows = generator.uniform(9, 14), bool(height > covered)
        row.append(Building(side, z, z + length, height, gabled, depth, shows))
        gap = generator.uniform(2.5, 7) if generator.random() < 0.45 else 0.0
        covered = height if gap == 0 else 0.0
        z += length + gap
    return row


def _lamps(generator: np.random.Generator) -> tuple[Lamp, ...]:
    colour = _LAMP_COLOURS[generator.integers(len(_LAMP_COLOURS))]
    height, spacing = generator.uniform(5.5, 7.2), generator.uniform(17, 24)
    side = int(generator.choice([-1, 1]))
    z = generator.uniform(7, 18)
    places = []
    while z < 115:
        places.append((side, z))
        z += spacing * generator.uniform(0.85, 1.15)
        side = -side if generator.random() < 0.7 else side
    # Every third lamp is out, so that there is always a stretch in the dark; never the nearest.
    out = generator.integers(1, 3)
    return tuple(
        Lamp(side, z, height, index % 3 != out, colour) for index, (side, z) in enumerate(places)
    )


def _trees(generator: np.random.Generator, lamps: tuple[Lamp, ...]) -> tuple[Tree, ...]:
    trees = []
    for side in (-1, 1):
        if generator.random() < 0.25:
            continue
        z = generator.uniform(13, 24)
        while z < 90:
            if all(abs(lamp.z - z) > 3 for lamp in lamps if lamp.side == side):
                trees.append(Tree(side, z, generator.uniform(4.5, 7.5)))
            z += generator.uniform(8, 19)
    return tuple(trees)


def _signs(generator: np.random.Generator) -> tuple[Sign, ...]:
    kinds = generator.permutation(["limit", "stop", "warning", "no entry", "park", "board"])
    places = [(int(generator.choice([-1, 1])), z) for z in generator.uniform(9.5, 34, 4)]
    return tuple(Sign(*place, str(kind)) for place, kind in zip(places, kinds, strict=False))


def _cars(generator: np.random.Generator, bare: Street, camera: Camera) -> tuple[Car, ...]:
    cars = []

    def add(x: float, z: float, leaving: bool, running: bool) -> None:
        paint = _PAINTS[generator.integers(len(_PAINTS))]
        cars.append(Car(x, z, leaving, running, bool(generator.random() < 0.5), paint))

    for side in (-1, 1):
        z = generator.uniform(9, 18)
        while z < 75:
            beside = abs(z - bare.crossing - 2) < 5 and bare.crossing > 0
            if generator.random() < 0.62 and not beside:
                add(side * (bare.kerb - 1.15), z, side > 0, generator.random() < 0.2)
            z += generator.uniform(5.6, 8.5)
    for side in (-1, 1):
        z = generator.uniform(11, 32)
        while z < 100:
            x = side * generator.uniform(1.3, 1.7)
            if generator.random() < 0.75 and camera.sees(x, z):
                add(x, z, side > 0, True)
            z += generator.uniform(13, 34)
    return tuple(cars)


def _persons(
    generator: np.random.Generator, bare: Street, cars: tuple[Car, ...], camera: Camera
) -> tuple[Person, ...]:
    lights = bare.lamp_lights()
    persons: list[Person] = []
    for index in range(generator.integers(5, 10)):
        near, far = ((6.5, 10), (9, 15), (13, 26), (20, 45))[index % 4]
        spots = []
        for _ in range(16):
            z = generator.uniform(near, far)
            x = _where_people_walk(generator, bare)
            clear = all(abs(car.z - z) > 3.2 or abs(car.x - x) > 1.4 for car in cars)
            apart = all(math.hypot(other.x - x, other.z - z) > 0.9 for other in persons)
            if clear and apart and camera.sees(x, z, 0.86):
                spots.append((brightness_on_ground(lights, x, z), x, z))
        if not spots:
            continue
        # Two of three keep to the darkest of the places tried, where only infrared finds them.
        _, x, z = min(spots) if index % 3 != 1 else max(spots)
        turn = (
            generator.choice([0, math.pi])
            if abs(x) < bare.kerb - 2.5
            else (generator.choice([-0.5, 0.5, 0.15, 0.85]) * math.pi)
        )
        persons.append(
            Person(
                x,
                z,
                generator.uniform(1.6, 1.9),
                float(turn + generator.uniform(-0.35, 0.35)),
                generator.uniform(0, 2 * math.pi),
            )
        )
    return tuple(persons)


def _where_people_walk(generator: np.random.Generator, bare: Street) -> float:
    if generator.random() < 0.35:
        return generator.uniform(-bare.kerb + 2, bare.kerb - 2)
    return float(generator.choice([-1, 1])) * generator.uniform(bare.kerb + 0.5, bare.wall - 0.5)
