"""House fronts, painted flat in metres: masonry, windows, doors and shops."""

from typing import NamedTuple

import numpy as np

from cddfuse.datasets.synthetic.camera import Array
from cddfuse.datasets.synthetic.canvas import Colour, Material, Texture
from cddfuse.datasets.synthetic.texture import fractal, lettering

STOREY = 3.1
_NAMES = (
    "CAFE", "HOTEL", "BAR 24", "PIZZA", "BOOKS", "BAKERY", "CINEMA", "FLOWERS", "TAXI", "MARKET",
)  # fmt: skip
_LIT: tuple[Colour, ...] = (
    (0.9, 0.62, 0.28), (0.8, 0.66, 0.42), (0.55, 0.6, 0.62), (0.95, 0.5, 0.2),
)  # fmt: skip
_FINE_FROM = 7.0
"""Pixels per metre."""


class Style(NamedTuple):
    """Style of the walls of one house."""

    wall: Material
    bricks: bool
    frame: Material
    stone: Material
    window: tuple[float, float]
    """Width and height of a window in metres."""
    lit_share: float


class Shop(NamedTuple):
    """An open shop: where along its wall, and the colour of its light."""

    left: float
    right: float
    colour: Colour


class Panel:
    """A flat picture under construction, with metres from the bottom left corner."""

    def __init__(self, length: float, height: float, scale: float) -> None:
        self.length, self.height, self.scale = length, height, scale
        shape = max(round(height * scale), 2), max(round(length * scale), 2)
        self.surface = np.zeros((*shape, 4), np.float32)
        self.glow = np.zeros((*shape, 3), np.float32)

    @property
    def detailed(self) -> bool:
        """Whether ten centimetres are visible at this scale."""
        return self.scale > _FINE_FROM

    def box(self, left: float, bottom: float, right: float, top: float) -> tuple[slice, slice]:
        """The pixels of a rectangle."""
        rows, columns = self.surface.shape[:2]
        low, high = round(rows - top * self.scale), round(rows - bottom * self.scale)
        start, stop = round(left * self.scale), round(right * self.scale)
        return slice(max(low, 0), min(high, rows)), slice(max(start, 0), min(stop, columns))

    def rectangle(
        self, left: float, bottom: float, right: float, top: float, material: Material
    ) -> None:
        """Fill a rectangle."""
        box = self.box(left, bottom, right, top)
        self.surface[box] = (*material.colour, material.apparent_temperature)
        self.glow[box] = material.glow

    def warm(self, left: float, bottom: float, right: float, top: float, degrees: float) -> None:
        """Raise the temperature of a rectangle without changing its colour."""
        self.surface[self.box(left, bottom, right, top)][..., 3] += degrees


def paint_wall(
    length: float, height: float, scale: float, style: Style, generator: np.random.Generator,
    *, shop: bool, every: float,
) -> tuple[Texture, Shop | None]:  # fmt: skip
    """One wall with its windows, which `every` spreads out, and the shop in it, if one is open."""
    open_shop = None
    panel = Panel(length, height, scale)
    noise, panes = generator.spawn(2)
    _masonry(panel, style, noise)
    floors = round((height - 1.0) / STOREY)
    count = max(int(length / (2.3 * every)), 1)
    pitch = length / count
    for floor in range(floors):
        base = floor * STOREY + 0.15
        panel.warm(0, base + STOREY - 0.35, length, base + STOREY - 0.1, 1.5)
        if floor == 0 and shop:
            open_shop = _ground_floor(panel, style, panes)
            continue
        for column in range(count):
            _window(panel, (column + 0.5) * pitch, base + 0.95, style, panes)
    whole = np.ones(panel.surface.shape[:2], np.float32)
    return Texture(panel.surface, panel.glow, whole), open_shop


def _masonry(panel: Panel, style: Style, generator: np.random.Generator) -> None:
    rows, columns = panel.surface.shape[:2]
    stains = fractal(generator, rows, columns, 3 * panel.scale, octaves=5)
    grain = generator.standard_normal((61, 67)).astype(np.float32)
    tiles = np.tile(grain, (rows // 61 + 1, columns // 67 + 1))[:rows, :columns]
    light = 1 + 0.11 * stains + 0.05 * tiles
    if style.bricks and panel.scale > 12:
        light *= _brickwork(rows, columns, panel.scale, generator)
    low = np.linspace(0, panel.height, rows, dtype=np.float32)[::-1, None]
    light *= 1 - 0.3 * np.exp(-low / 0.8)
    panel.surface[..., :3] = light[..., None] * np.array(style.wall.colour, np.float32)
    panel.surface[..., 3] = style.wall.apparent_temperature + 0.5 * stains - 0.12 * (low - 4)


def _brickwork(rows: int, columns: int, scale: float, generator: np.random.Generator) -> Array:
    """Oversized bricks, each of its own brightness."""
    high, wide = 0.16, 0.48
    course = (np.arange(rows) / scale / high).astype(int)
    shift = 0.5 * (course % 2)[:, None]
    brick = np.arange(columns)[None] / scale / wide + shift
    tones = generator.normal(1, 0.14, (course.max() + 1, int(brick.max()) + 1)).astype(np.float32)
    light = tones[course[:, None], brick.astype(int)]
    mortar = (np.arange(rows) / scale / high % 1 < 0.16)[:, None] | (brick % 1 < 0.06)
    return np.where(mortar, np.float32(1.3), light)


def _window(
    panel: Panel, middle: float, sill: float, style: Style, generator: np.random.Generator
) -> None:
    width, height = style.window
    left, right, top = middle - width / 2, middle + width / 2, sill + height
    lit, blind = generator.random() < style.lit_share, generator.random() < 0.25
    leak = float(generator.uniform(0, 3)) + (3.0 if lit else 0.0)
    radiator = 2.5 if generator.random() < 0.35 else 0.0
    if panel.detailed:
        panel.warm(left - 0.1, sill - 0.75, right + 0.1, sill - 0.1, radiator)
        panel.warm(left - 0.15, sill - 0.1, right + 0.15, top + 0.3, 1.0)
        panel.rectangle(left - 0.22, sill - 0.2, right + 0.22, sill - 0.06, style.stone)
    panel.rectangle(left - 0.12, sill - 0.12, right + 0.12, top + 0.12, style.frame)
    glass = Material((0.035, 0.04, 0.05), 12.5 + leak, 0.86, _window_glow(generator, lit))
    panel.rectangle(left, sill, right, top, glass)
    if lit:
        _curtains(panel, left, sill, right, top, generator)
    elif blind:
        panel.rectangle(left, sill + 0.3 * height, right, top, Material((0.3, 0.29, 0.26), 8.5))
    if not panel.detailed:
        return
    panel.rectangle(middle - 0.04, sill, middle + 0.04, top, style.frame)
    panel.rectangle(left, sill + 0.66 * height, right, sill + 0.66 * height + 0.07, style.frame)


def _window_glow(generator: np.random.Generator, lit: bool) -> Colour:
    red, green, blue = _LIT[generator.integers(len(_LIT))]
    power = generator.uniform(0.35, 1.1) if lit else 0.0
    return red * power, green * power, blue * power


def _curtains(
    panel: Panel, left: float, bottom: float, right: float, top: float,
    generator: np.random.Generator,
) -> None:  # fmt: skip
    """Curtains at both sides, and a room that is brighter above."""
    drawn = generator.uniform(0.1, 0.4) * (right - left)
    for start, stop in ((left, left + drawn), (right - drawn, right)):
        panel.glow[panel.box(start, bottom, stop, top)] *= np.float32(0.45)
    lower = panel.box(left, bottom, right, bottom + 0.45 * (top - bottom))
    panel.glow[lower] *= np.float32(0.6)


def _ground_floor(panel: Panel, style: Style, generator: np.random.Generator) -> Shop | None:
    """A door, then shop windows under a name board, or plain windows."""
    plinth = Material((0.2, 0.19, 0.18), 7.5)
    panel.rectangle(0, 0, panel.length, 0.45, plinth)
    door = generator.uniform(0.6, 1.2)
    warmth = Material((0.12, 0.06, 0.04), 12.0)
    panel.rectangle(door - 0.12, 0, door + 1.12, 2.45, style.stone)
    panel.rectangle(door, 0.05, door + 1.0, 2.1, warmth)
    panel.rectangle(door + 0.1, 2.15, door + 0.9, 2.38, Material((0.05, 0.05, 0.05), 14, 0.86))
    start = door + 1.8
    if generator.random() < 0.62 and panel.length - start > 4:
        return _shop(panel, start, panel.length - 0.6, generator)
    count = max(int((panel.length - start) / 2.4), 1)
    pitch = (panel.length - start) / count
    for column in range(count):
        _window(panel, start + (column + 0.5) * pitch, 0.95, style, generator)
    return None


def _shop(panel: Panel, left: float, right: float, generator: np.random.Generator) -> Shop | None:
    """Panes of glass with goods behind them and a name above."""
    right = min(right, left + 8)
    colour, is_open = _LIT[generator.integers(3)], generator.random() < 0.5
    red, green, blue = (value * (0.8 if is_open else 0.012) for value in colour)
    inside = Material((0.04, 0.04, 0.05), 14 if is_open else 10, 0.86, (red, green, blue))
    panel.rectangle(left, 0, right, 2.55, Material((0.05, 0.06, 0.06), 7.0))
    panes = max(int((right - left) / 1.9), 1)
    width = (right - left) / panes
    for pane in range(panes):
        start, stop = left + pane * width + 0.06, left + (pane + 1) * width - 0.06
        panel.rectangle(start, 0.45, stop, 2.45, inside)
        if panel.detailed:
            _goods(panel, start, stop, generator)
    _name_board(panel, left, right, generator)
    return Shop(left, right, colour) if is_open else None


def _goods(panel: Panel, left: float, right: float, generator: np.random.Generator) -> None:
    """Shelves of coloured things in front of a light room, dim below and bright at the ceiling."""
    glow = panel.glow[panel.box(left, 0.45, right, 2.45)]
    glow *= np.linspace(1.25, 0.45, len(glow), dtype=np.float32)[:, None, None]
    for shelf in (0.5, 0.98, 1.42):
        spot = left + 0.1
        while spot < right - 0.25:
            width, height = generator.uniform(0.1, 0.3), generator.uniform(0.12, 0.36)
            tint = generator.uniform(0.1, 1.0, 3).astype(np.float32) * np.float32(0.8)
            if generator.random() < 0.75:
                panel.glow[panel.box(spot, shelf, spot + width, shelf + height)] *= tint
            spot += width + 0.03
        panel.glow[panel.box(left, shelf - 0.05, right, shelf)] *= np.float32(0.3)


def _name_board(panel: Panel, left: float, right: float, generator: np.random.Generator) -> None:
    board = generator.permutation([0.4, 0.08, 0.05]).astype(np.float32)
    glow, text = np.float32(generator.choice([0.02, 0.25, 0.6])), str(generator.choice(_NAMES))
    box = panel.box(left, 2.6, right, 3.15)
    end = left + 0.4 + min(0.5 * len(text), right - left - 0.8)
    inked = panel.box(left + 0.4, 2.66, end, 3.09)
    rows, columns = panel.surface[inked].shape[:2]
    if not rows or not columns:
        return
    panel.surface[box] = (*board, 8.0)
    panel.glow[box] = glow * np.float32(0.12) * board
    ink = lettering(text, rows, columns)[..., None]
    colours = panel.surface[inked][..., :3]
    colours += ink * (np.float32(0.85) - colours)
    panel.glow[inked] += ink * glow
