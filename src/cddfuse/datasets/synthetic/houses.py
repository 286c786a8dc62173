"""Houses along the street and across its far end."""

import numpy as np

from cddfuse.datasets.synthetic.canvas import TOWARDS_CAMERA, Canvas, Colour, Material, Vector
from cddfuse.datasets.synthetic.layout import Building, Street
from cddfuse.datasets.synthetic.light import Light
from cddfuse.datasets.synthetic.walls import STOREY, Style, paint_wall

_WALLS: tuple[Colour, ...] = (
    (0.36, 0.16, 0.10), (0.42, 0.38, 0.30), (0.30, 0.27, 0.24), (0.50, 0.45, 0.34),
    (0.28, 0.13, 0.09), (0.33, 0.36, 0.36), (0.46, 0.30, 0.2),
)  # fmt: skip
_ROOF = Material((0.08, 0.07, 0.07), 1.0)
_CHIMNEY = Material((0.2, 0.1, 0.08), 13.0)
_SEEN_FROM = 8.0
"""Metres; no wall nearer than this gets into the image."""


def draw_buildings(
    canvas: Canvas, scenery: Street, generators: list[np.random.Generator]
) -> list[Light]:
    """All houses, far ones first. Returns the lights of their shops."""
    canvas.start("building")
    lights: list[Light] = []
    order = sorted(zip(scenery.buildings, generators, strict=True), key=lambda item: -item[0].start)
    _close(canvas, scenery, generators[0].spawn(1)[0])
    for building, generator in order:
        lights += _draw_building(canvas, building, scenery.wall, generator)
    return lights


def _close(canvas: Canvas, scenery: Street, generator: np.random.Generator) -> None:
    """Houses across the far end, where the street meets another one."""
    left, z = -2.2 * scenery.wall, scenery.buildings[-1].end + 12
    while left < 2.2 * scenery.wall:
        width, floors = generator.uniform(7, 13), generator.integers(2, 5)
        height, style = 1.0 + STOREY * floors, _style(generator)
        scale = canvas.camera.focal / z
        wall, _ = paint_wall(width, height, scale, style, generator, shop=True, every=1.0)
        canvas.hang(_corners((left, z), (left + width, z), height), wall, TOWARDS_CAMERA)
        left += width


def _draw_building(
    canvas: Canvas, building: Building, wall: float, generator: np.random.Generator
) -> list[Light]:
    style, side = _style(generator), building.side
    near, far, height = max(building.start, _SEEN_FROM), building.end, building.height
    if far - near < 2:
        return []
    front, back = side * wall, side * (wall + building.depth)
    scale = float(np.clip(canvas.camera.focal / max(near, 13.0), 3, 60))
    if building.gabled:
        ridge = (side * (wall + building.depth / 2), height + building.depth * 0.36, near)
        canvas.face(((front, height, near), ridge, (back, height, near)), _wall_shade(style))
        chimney = ridge[0] - side * 1.5
        low, high = height + 1.0, ridge[1] + 0.9
        canvas.face(
            ((chimney - 0.4, low, near + 1), (chimney + 0.4, low, near + 1),
             (chimney + 0.4, high, near + 1), (chimney - 0.4, high, near + 1)), _CHIMNEY
        )  # fmt: skip
    if building.gable_shows:
        gable, _ = paint_wall(
            building.depth, height, scale, style, generator, shop=False, every=2.6
        )
        sides = (min(front, back), near), (max(front, back), near)
        canvas.hang(_corners(*sides, height), gable, TOWARDS_CAMERA)
    street_front, shop = paint_wall(
        far - near, height, scale, style, generator, shop=True, every=1.0
    )
    # Seen from the street a left house begins at its near end, a right house at its far end.
    first, last = (near, far) if side < 0 else (far, near)
    canvas.hang(_corners((front, first), (front, last), height), street_front, (-side, 0, 0))
    _eaves(canvas, front, side, near, far, height, style)
    if shop is None:
        return []
    along = first + (shop.left + shop.right) / 2 * (1 if side < 0 else -1)
    place = front - side * 0.6, 1.7, along
    return [
        Light(place, shop.colour, 9 * (shop.right - shop.left) / 4, 9, (-side * 0.8, -0.6, 0), 0.5)
    ]


def _corners(
    left: tuple[float, float], right: tuple[float, float], height: float
) -> tuple[Vector, Vector, Vector, Vector]:
    (x, z), (other_x, other_z) = left, right
    return (x, 0, z), (other_x, 0, other_z), (x, height, z), (other_x, height, other_z)


def _eaves(
    canvas: Canvas, front: float, side: int, near: float, far: float, height: float, style: Style
) -> None:
    """A cornice that stands out over the street: its underside and its edge."""
    edge, low, high = front - side * 0.45, height, height + 0.3
    trim = style.stone._replace(temperature=2.5)
    under = ((front, low, near), (edge, low, near), (edge, low, far), (front, low, far))
    outer = ((edge, low, near), (edge, high, near), (edge, high, far), (edge, low, far))
    end = ((edge, low, near), (edge, high, near), (front, high, near), (front, low, near))
    canvas.face(under, _ROOF, (0, -1, 0))
    canvas.face(outer, trim, (-side, 0, 0))
    canvas.face(end, trim)


def _style(generator: np.random.Generator) -> Style:
    wall = _WALLS[generator.integers(len(_WALLS))]
    return Style(
        wall=Material(wall, generator.uniform(3, 12.5)),
        bricks=bool(generator.random() < 0.6),
        frame=Material((0.6, 0.58, 0.54), 6.0),
        stone=Material((0.5, 0.48, 0.43), 4.5),
        window=(generator.uniform(0.95, 1.3), generator.uniform(1.5, 1.9)),
        lit_share=generator.uniform(0.06, 0.3),
    )


def _wall_shade(style: Style) -> Material:
    red, green, blue = style.wall.colour
    return style.wall._replace(colour=(0.9 * red, 0.9 * green, 0.9 * blue))
