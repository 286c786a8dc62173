"""Street furniture: lamps, trees and traffic signs."""

import cv2
import numpy as np
import numpy.typing as npt

from cddfuse.datasets.synthetic.camera import Array
from cddfuse.datasets.synthetic.canvas import (
    TOWARDS_CAMERA,
    Ball,
    Canvas,
    Colour,
    Material,
    Texture,
)
from cddfuse.datasets.synthetic.layout import Lamp, Sign, Street, Tree
from cddfuse.datasets.synthetic.texture import lettering

_IRON = Material((0.06, 0.07, 0.07), 5.0, 0.9)
_ZINC = Material((0.3, 0.3, 0.3), 5.0, 0.85)
_BARK = Material((0.06, 0.045, 0.03), 8.0)
_RED: Colour = (0.5, 0.02, 0.02)
_WHITE: Colour = (0.75, 0.75, 0.75)
_BLACK: Colour = (0.02, 0.02, 0.02)
_BLUE: Colour = (0.02, 0.08, 0.4)
_YELLOW: Colour = (0.7, 0.45, 0.03)
_BOARDS = ("CENTRE", "STATION", "HARBOUR", "OLD TOWN")
_SIDE = 96
_SHADES, _LEAVES = 4, 24


def draw_lamp(canvas: Canvas, lamp: Lamp, scenery: Street) -> None:
    """A post with an arm over the road and, at its end, a flat head that shines downwards."""
    canvas.start("lamp")
    foot, z, top = lamp.side * (scenery.kerb + 0.45), lamp.z, lamp.height
    end = lamp.side * (scenery.kerb - 1.0)
    canvas.body([((foot, 0, z), 0.11), ((foot, 0.9, z), 0.09)], _IRON)
    canvas.body([((foot, 0.9, z), 0.065), ((foot, top - 0.4, z), 0.05)], _IRON)
    canvas.body([((foot, top - 0.4, z), 0.05), ((foot - lamp.side * 0.4, top, z), 0.045)], _IRON)
    canvas.body([((foot - lamp.side * 0.4, top, z), 0.045), ((end, top + 0.08, z), 0.04)], _IRON)
    hot = 34.0 if lamp.lit else 4.0
    head = [
        ((end + lamp.side * 0.3, top + 0.06, z), 0.1),
        ((end - lamp.side * 0.3, top + 0.08, z), 0.08),
    ]
    canvas.body(head, _IRON._replace(temperature=hot, emissivity=0.95))
    red, green, blue = lamp.colour
    power = 22.0 if lamp.lit else 0.0
    bulb = Material(_WHITE, hot + 8, glow=(red * power, green * power, blue * power))
    canvas.body(
        [
            ((end + lamp.side * 0.2, top - 0.05, z), 0.08),
            ((end - lamp.side * 0.2, top - 0.04, z), 0.08),
        ],
        bulb,
    )


def draw_tree(canvas: Canvas, tree: Tree, scenery: Street, generator: np.random.Generator) -> None:
    """Trunk, branches, and a crown of lobes made of leaves."""
    canvas.start("tree")
    x, z, height = tree.side * (scenery.kerb + 0.9), tree.z, tree.height
    fork = 0.42 * height
    canvas.body([((x, 0, z), 0.17), ((x, fork, z), 0.11)], _BARK)
    lobes: list[Ball] = []
    for angle, rise, reach in generator.random((11, 3)):
        turn = 2 * np.pi * angle
        away = (0.12 + 0.2 * reach) * height
        centre = (
            x + away * np.cos(turn), height * (0.56 + 0.36 * rise), z + 0.5 * away * np.sin(turn),
        )  # fmt: skip
        lobes.append((centre, height * (0.13 + 0.07 * reach)))
        canvas.body([((x, fork - 0.2, z), 0.08), (centre, 0.03)], _BARK)
    _crown(canvas, lobes, z, generator)


def _crown(canvas: Canvas, lobes: list[Ball], z: float, generator: np.random.Generator) -> None:
    """Leaves by the hundred: dark ones around and below, lighter ones in front and above."""
    scale = canvas.camera.focal / z
    middles = canvas.camera.project(np.array([centre for centre, _ in lobes]))
    radii = np.array([radius for _, radius in lobes]) * scale
    low, high = (middles - 2.2 * radii[:, None]).min(0), (middles + 2.2 * radii[:, None]).max(0)
    box = canvas.box(np.stack([low, high]))
    # Far trees get fewer leaves, no smaller than a pixel.
    size = max(0.075 * scale, 1.0)
    leaves = int(np.clip(_LEAVES * (0.09 * scale / size), 6, _LEAVES))
    places = generator.normal(0, 0.5, (_SHADES, len(lobes), leaves, 2))
    shapes = generator.normal(0, size, (_SHADES, len(lobes), leaves, 4, 2))
    if box is None:
        return
    rows, columns = box
    shade_of = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
    for shade in range(_SHADES):
        spread = radii[:, None, None] * (1.0 - 0.15 * shade)
        up = 0.13 * shade * np.stack([np.zeros_like(radii), radii], axis=1)[:, None]
        centres = middles[:, None] + places[shade] * spread - up - (columns.start, rows.start)
        outlines = np.rint(centres[:, :, None] + shapes[shade]).astype(np.int32)
        for outline in outlines.reshape(-1, 4, 2):
            cv2.fillPoly(shade_of, [outline], shade + 1)
    light = np.array([0, 0.45, 0.75, 1.1, 1.5], np.float32)[shade_of][..., None]
    warm = np.array([0, 4.2, 5.4, 6.6, 7.6], np.float32)[shade_of][..., None]
    surface = np.concatenate([light * np.array([0.045, 0.07, 0.025], np.float32), warm], axis=2)
    dark, distance = np.zeros_like(surface[..., :3]), np.full(shade_of.shape, z, np.float32)
    canvas.stamp(box, shade_of > 0, surface, dark, distance, (0, 0, 0), soft=0.5)


def draw_sign(canvas: Canvas, sign: Sign, scenery: Street, generator: np.random.Generator) -> None:
    """A board on a post; slightly retroreflective."""
    canvas.start("sign")
    x, z = sign.side * (scenery.kerb + 0.55), sign.z
    wide, low = (0.8, 2.0) if sign.kind == "board" else (0.4, 1.95)
    high = low + (0.5 if sign.kind == "board" else 0.8)
    canvas.body([((x, 0, z), 0.04), ((x, high - 0.1, z), 0.035)], _ZINC)
    colours, inside = _board(sign.kind, generator)
    surface = np.dstack([colours, np.full(colours.shape[:2], 3.5, np.float32)])
    corners = ((x - wide, low, z), (x + wide, low, z), (x - wide, high, z), (x + wide, high, z))
    texture = Texture(surface, colours * np.float32(0.22), inside.astype(np.float32))
    canvas.hang(corners, texture, TOWARDS_CAMERA)


def _board(kind: str, generator: np.random.Generator) -> tuple[Array, npt.NDArray[np.uint8]]:
    """Colours (h, w, 3) and opacity (h, w)."""
    height, width = (_SIDE, 3 * _SIDE) if kind == "board" else (_SIDE, _SIDE)
    colours = np.zeros((height, width, 3), np.float32)
    inside = np.zeros((height, width), np.uint8)
    half, full = _SIDE // 2, _SIDE - 1
    octagon = _regular(8, half, np.pi / 8)
    if kind == "board":
        colours[:] = _WHITE
        colours[5:-5, 5:-5] = _BLUE
        inside[:] = 1
        _write(colours, str(generator.choice(_BOARDS)), (24, 20, 72, 268), _WHITE)
    elif kind == "park":
        colours[:] = _BLUE
        inside[:] = 1
        _write(colours, "P", (12, 24, 84, 72), _WHITE)
    elif kind == "stop":
        colours[:] = _WHITE
        cv2.fillPoly(inside, [octagon], 1)
        cv2.fillPoly(colours, [_regular(8, half - 5, np.pi / 8)], _RED)
        _write(colours, "STOP", (34, 14, 62, 82), _WHITE)
    elif kind == "warning":
        triangle = np.array([[half, 2], [full, full - 8], [0, full - 8]], np.int32)
        cv2.fillPoly(inside, [triangle], 1)
        colours[:] = _RED
        cv2.fillPoly(colours, [np.array([[half, 22], [80, 78], [16, 78]], np.int32)], _YELLOW)
        _write(colours, "!", (36, 43, 74, 53), _BLACK)
    else:
        cv2.circle(inside, (half, half), half - 1, 1, -1)
        colours[:] = _RED
        if kind == "limit":
            cv2.circle(colours, (half, half), half - 13, _WHITE, -1)
            _write(colours, str(generator.choice(["30", "50", "20"])), (30, 22, 66, 74), _BLACK)
        else:
            colours[38:58, 14:82] = _WHITE
    return colours, inside


def _regular(corners: int, radius: float, turn: float) -> npt.NDArray[np.int32]:
    angles = turn + np.arange(corners) * 2 * np.pi / corners
    points = _SIDE // 2 + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.round(points).astype(np.int32)


def _write(colours: Array, text: str, box: tuple[int, int, int, int], ink: Colour) -> None:
    top, left, bottom, right = box
    share = lettering(text, bottom - top, right - left)[..., None]
    area = colours[top:bottom, left:right]
    area += share * (np.array(ink, np.float32) - area)
