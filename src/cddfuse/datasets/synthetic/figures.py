"""Pedestrians: a skeleton in mid-stride with rounded limbs."""

import math
from typing import Protocol

import numpy as np

from cddfuse.datasets.synthetic.canvas import Ball, Canvas, Colour, Material, Vector
from cddfuse.datasets.synthetic.layout import Person

_CLOTH: tuple[Colour, ...] = (
    (0.02, 0.02, 0.025), (0.03, 0.035, 0.06), (0.05, 0.045, 0.04), (0.06, 0.02, 0.02),
    (0.03, 0.045, 0.03), (0.10, 0.09, 0.08), (0.16, 0.14, 0.12),
)  # fmt: skip
_SKINS: tuple[Colour, ...] = ((0.45, 0.28, 0.2), (0.3, 0.17, 0.1), (0.14, 0.07, 0.045))
_HAIR = Material((0.03, 0.022, 0.015), 21)
_SHOE = Material((0.025, 0.022, 0.02), 13)


class Add(Protocol):
    """Receives a part of the body: its material and the spheres whose hull it is."""

    def __call__(self, material: Material, *balls: Ball) -> None:
        """Add a part."""


class Skeleton:
    """Joints in metres of a person of 1.75 m, turned and placed."""

    def __init__(self, person: Person) -> None:
        self.person = person
        self.scale = person.height / 1.75
        self.lift = 0.0
        self.lift = -min(ankle[1] for ankle in (self.leg(-1)[2], self.leg(1)[2])) + 0.07

    def at(self, forward: float, up: float, left: float) -> Vector:
        """World coordinates from body coordinates."""
        cosine, sine = math.cos(self.person.heading), math.sin(self.person.heading)
        forward, left = forward * self.scale, left * self.scale
        x = self.person.x + forward * cosine - left * sine
        z = self.person.z + forward * sine + left * cosine
        return x, (up + self.lift) * self.scale, z

    def leg(self, side: int) -> tuple[Vector, Vector, Vector, Vector]:
        """Hip, knee, ankle and toe."""
        phase = self.person.phase + (math.pi if side > 0 else 0)
        thigh = 0.42 * math.sin(phase) + 0.08
        shin = thigh - 0.12 - 0.75 * max(0.0, math.cos(phase)) * 0.8
        knee = 0.44 * math.sin(thigh), 0.92 - 0.44 * math.cos(thigh)
        ankle = knee[0] + 0.42 * math.sin(shin), knee[1] - 0.42 * math.cos(shin)
        toe = ankle[0] + 0.17 * math.cos(shin), ankle[1] + 0.17 * math.sin(shin) - 0.02
        out = 0.095 * side
        return (
            self.at(0, 0.92, out),
            self.at(knee[0], knee[1], out),
            self.at(ankle[0], ankle[1], out),
            self.at(toe[0], toe[1], out * 1.2),
        )

    def arm(self, side: int) -> tuple[Vector, Vector, Vector]:
        """Shoulder, elbow and hand."""
        phase = self.person.phase + (0 if side > 0 else math.pi)
        upper = 0.4 * math.sin(phase)
        lower = upper + 0.45
        elbow = 0.28 * math.sin(upper), 1.42 - 0.28 * math.cos(upper)
        hand = elbow[0] + 0.26 * math.sin(lower), elbow[1] - 0.26 * math.cos(lower)
        out = 0.215 * side
        return (
            self.at(0, 1.39, out * 0.9),
            self.at(elbow[0], elbow[1], out * 1.12),
            self.at(hand[0], hand[1], out * 1.1),
        )


def draw_person(canvas: Canvas, person: Person, generator: np.random.Generator) -> None:
    """One person, the farther limbs first."""
    canvas.start("person")
    bones, size = Skeleton(person), person.height / 1.75
    skin = Material(_SKINS[generator.integers(len(_SKINS))], 32.5)
    jacket = Material(_CLOTH[generator.integers(len(_CLOTH))], generator.uniform(18.5, 22))
    trousers = Material(_CLOTH[generator.integers(3)], generator.uniform(16.5, 19.5))
    parts: list[tuple[list[Ball], Material]] = []

    def add(material: Material, *balls: Ball) -> None:
        parts.append(([(centre, radius * size) for centre, radius in balls], material))

    for side in (-1, 1):
        hip, knee, ankle, toe = bones.leg(side)
        add(trousers, (hip, 0.1), (knee, 0.068))
        add(trousers._replace(temperature=trousers.temperature - 1), (knee, 0.066), (ankle, 0.055))
        add(_SHOE, (ankle, 0.045), (toe, 0.035))
        shoulder, elbow, hand = bones.arm(side)
        add(jacket, (shoulder, 0.068), (elbow, 0.055))
        add(jacket, (elbow, 0.052), (hand, 0.042))
        add(skin._replace(temperature=29.5), (hand, 0.047))
    coat = generator.random() < 0.4
    _torso(bones, jacket, add, hem=0.62 if coat else 0.9)
    _head(bones, skin, jacket, add, bool(generator.random() < 0.3))
    if generator.random() < 0.35:
        bag = Material((0.03, 0.03, 0.04), 11)
        add(bag, (bones.at(-0.2, 1.32, 0.07), 0.11), (bones.at(-0.2, 1.05, -0.06), 0.12))
    for balls, material in sorted(parts, key=lambda part: -min(ball[0][2] for ball in part[0])):
        canvas.body(balls, material)


def _torso(bones: Skeleton, jacket: Material, add: Add, hem: float) -> None:
    chest = jacket._replace(temperature=jacket.temperature + 1.5)
    wide = 0.13 if hem < 0.8 else 0.1
    add(
        jacket,
        (bones.at(0, 1.1, -0.1), 0.1), (bones.at(0, 1.1, 0.1), 0.1),
        (bones.at(0, hem, -wide), 0.09), (bones.at(0, hem, wide), 0.09),
    )  # fmt: skip
    add(
        chest,
        (bones.at(0, 1.405, -0.15), 0.065), (bones.at(0, 1.405, 0.15), 0.065),
        (bones.at(0, 1.475, 0), 0.06),
        (bones.at(0.02, 1.25, 0), 0.14),
        (bones.at(0, 1.02, -0.09), 0.1), (bones.at(0, 1.02, 0.09), 0.1),
    )  # fmt: skip


def _head(bones: Skeleton, skin: Material, jacket: Material, add: Add, hat: bool) -> None:
    add(
        skin._replace(temperature=31.0),
        (bones.at(0, 1.44, 0), 0.06),
        (bones.at(0.01, 1.55, 0), 0.055),
    )
    add(skin, (bones.at(0.015, 1.645, 0), 0.088), (bones.at(0.04, 1.575, 0), 0.062))
    cover = jacket._replace(temperature=19) if hat else _HAIR
    add(cover, (bones.at(-0.035, 1.675, 0), 0.092), (bones.at(0.015, 1.705, 0), 0.08))
