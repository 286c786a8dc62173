"""Cars: boxes with a cabin, wheels, glass and lights, each face where perspective puts it."""

import math

import numpy as np

from cddfuse.datasets.synthetic.canvas import UP, Canvas, Colour, Material, Vector
from cddfuse.datasets.synthetic.layout import Car
from cddfuse.datasets.synthetic.light import Light

LENGTH = 4.3
HALF_WIDTH = 0.88

_WIDE, _ROOF_WIDE, _BELT, _ROOF = HALF_WIDTH, 0.62, 0.9, 1.46
_DETAIL_FROM = 22.0
"""Pixels per metre."""
_HEAD: Colour = (1.0, 0.95, 0.82)
_TAIL: Colour = (1.0, 0.05, 0.03)
_RUBBER = Material((0.015, 0.015, 0.015), 9)
_DARK = Material((0.012, 0.012, 0.014), 8)


def car_lights(car: Car) -> list[Light]:
    """The headlights of a running car."""
    if not car.running:
        return []
    z = car.z - LENGTH / 2 - 0.05
    if car.leaving:
        return [
            Light((car.x, 0.75, z), _TAIL, 1.6, 7, (0, -0.1, -1), 1.5),
            Light((car.x, 0.65, z + LENGTH), _HEAD, 60, 18, (0, -0.06, 1), 14),
        ]
    return [Light((car.x, 0.65, z), _HEAD, 75, 22, (0.04, -0.07, -1), 14)]


def draw_car(canvas: Canvas, car: Car) -> None:
    """One car, seen from one end and, unless it is straight ahead, from one side."""
    canvas.start("car")
    _Drawing(canvas, car).draw()


class _Drawing:
    """The faces of one car. Lengths along it count from the end that is nearer to the camera."""

    def __init__(self, canvas: Canvas, car: Car) -> None:
        self.canvas, self.car = canvas, car
        self.near = car.z - LENGTH / 2
        offset = canvas.camera.x - car.x
        self.side = 0 if abs(offset) < _WIDE else int(math.copysign(1, offset))
        cabin = [1.2, 1.95, LENGTH - 0.85, LENGTH - 0.3]
        if not car.estate:
            cabin[2:] = [LENGTH - 1.45, LENGTH - 0.75]
        if car.leaving:
            cabin = [LENGTH - place for place in reversed(cabin)]
        self.cabin = cabin
        ends = (0.9, 0.74) if car.leaving else (0.74, 0.9)
        self.near_height, self.far_height = ends
        running = car.running
        self.detailed = canvas.camera.focal / self.near > _DETAIL_FROM
        self.paint = Material(car.paint, 9.0 if running else 6.0, 0.88)
        self.bonnet = self.paint._replace(temperature=25.0 if running else 6.0)
        self.glass = Material((0.02, 0.024, 0.03), 11.0 if running else 5.0, 0.82)
        self.tyre = _RUBBER._replace(temperature=18.0 if running else 8.0)

    def at(self, across: float, up: float, along: float) -> Vector:
        """World coordinates of a point of the car: from its middle, the road and its near end."""
        return self.car.x + across, up, self.near + along

    def draw(self) -> None:
        """From the far parts to the near ones."""
        self._underneath()
        if self.side:
            self._flank()
        self._top()
        self._end()

    def _underneath(self) -> None:
        warm = 12.0 if self.car.running else 8.5
        shade = Material((0.008, 0.008, 0.009), warm)
        low = [
            self.at(x, 0.0 if y else 0.32, 0.15)
            for x, y in ((-0.8, 1), (0.8, 1), (0.8, 0), (-0.8, 0))
        ]
        self.canvas.face(low, shade)
        for middle in (-0.7, 0.7):
            for along in (LENGTH - 0.8, 0.55):
                self._plate(middle, 0.16, 0.12, 0.165, self.tyre, along)

    def _flank(self) -> None:
        side, (base, roof, roof_end, base_end) = self.side, self.cabin
        normal = (side, 0.0, 0.0)
        wide, narrow = side * _WIDE, side * _ROOF_WIDE
        upper = [
            self.at(wide * 0.97, _BELT, base), self.at(narrow, _ROOF, roof),
            self.at(narrow, _ROOF, roof_end), self.at(wide * 0.97, _BELT, base_end),
        ]  # fmt: skip
        self.canvas.face(upper, self.paint, normal)
        self._side_windows(upper, normal)
        body = [(0.06, 0.3), (0, 0.5), (0.05, self.near_height), (base, _BELT), (base_end, _BELT)]
        body += [(LENGTH - 0.05, self.far_height), (LENGTH, 0.5), (LENGTH - 0.06, 0.3)]
        self.canvas.face([self.at(wide, up, along) for along, up in body], self.paint, normal)
        hot_end = (0.1, base) if not self.car.leaving else (base_end, LENGTH - 0.1)
        wing = [(hot_end[0], 0.6), (hot_end[0], 0.74), (hot_end[1], 0.84), (hot_end[1], 0.6)]
        wing_paint = self.bonnet._replace(
            temperature=(self.bonnet.temperature + self.paint.temperature) / 2
        )
        self.canvas.face([self.at(wide, up, along) for along, up in wing], wing_paint, normal)
        if self.detailed:
            self._seams(normal)
        for along in (LENGTH - 0.82, 0.82):
            self._wheel(along, normal)

    def _seams(self, normal: Vector) -> None:
        base, _, _, base_end = self.cabin
        wide = self.side * _WIDE
        for seam in (base + 0.35, (base + base_end) / 2 + 0.1):
            line = [(seam, 0.36), (seam + 0.03, 0.36), (seam + 0.03, 0.88), (seam, 0.88)]
            self.canvas.face([self.at(wide, up, along) for along, up in line], _DARK, normal)
        sill = [(0.3, 0.26), (0.3, 0.34), (LENGTH - 0.3, 0.34), (LENGTH - 0.3, 0.26)]
        self.canvas.face([self.at(wide, up, along) for along, up in sill], _DARK, normal)

    def _side_windows(self, upper: list[Vector], normal: Vector) -> None:
        corners = np.array(upper)

        def inside(along: float, up: float) -> Vector:
            low = corners[0] + along * (corners[3] - corners[0])
            high = corners[1] + along * (corners[2] - corners[1])
            x, y, z = low + up * (high - low)
            return float(x), float(y), float(z)

        for start, stop in ((0.06, 0.48), (0.53, 0.94)):
            pane = [
                inside(start, 0.08),
                inside(start, 0.86),
                inside(stop, 0.86),
                inside(stop, 0.08),
            ]
            self.canvas.face(pane, self.glass, normal)

    def _wheel(self, along: float, normal: Vector) -> None:
        running = self.car.running
        rim = Material((0.26, 0.26, 0.27), 20.0 if running else 7.0, 0.9)
        hub = Material((0.05, 0.05, 0.05), 33.0 if running else 7.0)
        layers = ((0.37, _DARK), (0.315, self.tyre), (0.2, rim), (0.075, hub))
        angles = np.linspace(0, 2 * np.pi, 20 if self.detailed else 8, endpoint=False)
        for radius, material in layers if self.detailed else layers[1:3]:
            ring = [
                self.at(
                    self.side * (_WIDE + 0.01),
                    0.31 + radius * math.sin(angle),
                    along + radius * math.cos(angle),
                )
                for angle in angles
            ]
            self.canvas.face(ring, material, normal)

    def _top(self) -> None:
        base, roof, roof_end, _ = self.cabin
        mirror = _DARK if self.paint.colour[0] < 0.1 else self.paint
        roof_face = [
            (-_ROOF_WIDE, roof),
            (_ROOF_WIDE, roof),
            (_ROOF_WIDE, roof_end),
            (-_ROOF_WIDE, roof_end),
        ]
        self.canvas.face([self.at(x, _ROOF, along) for x, along in roof_face], self.paint, UP)
        for grow, material in ((1.0, self.paint), (0.88, self.glass)):
            low, high = _BELT + 0.05 * (1 - grow), _ROOF - 0.5 * (1 - grow)
            start = base + (roof - base) * (1 - grow) * 0.5
            pane = [
                self.at(-0.85 * grow, low, start), self.at(0.85 * grow, low, start),
                self.at(_ROOF_WIDE * grow, high, roof), self.at(-_ROOF_WIDE * grow, high, roof),
            ]  # fmt: skip
            self.canvas.face(pane, material, (0, 0.45, -0.9))
        lid = [
            self.at(-_WIDE, self.near_height, 0.05), self.at(_WIDE, self.near_height, 0.05),
            self.at(_WIDE * 0.97, _BELT, base), self.at(-_WIDE * 0.97, _BELT, base),
        ]  # fmt: skip
        self.canvas.face(lid, self.paint if self.car.leaving else self.bonnet, (0, 0.93, -0.37))
        if not self.detailed:
            return
        for side in (-1, 1):
            centre = self.at(side * (_WIDE + 0.08), 0.97, (base + roof) / 2)
            self.canvas.body([(centre, 0.075)], mirror)

    def _plate(
        self, middle: float, up: float, half_width: float, half_height: float,
        material: Material, along: float = -0.02,
    ) -> None:  # fmt: skip
        """A rectangle that faces the camera."""
        corners = ((-1, -1), (1, -1), (1, 1), (-1, 1))
        face = [self.at(middle + a * half_width, up + b * half_height, along) for a, b in corners]
        self.canvas.face(face, material)

    def _end(self) -> None:
        """Bumper, lights and number plate of the nearer end."""
        top = self.near_height
        corners = [
            (-_WIDE + 0.1, 0.36),
            (_WIDE - 0.1, 0.36),
            (_WIDE - 0.1, top - 0.1),
            (-_WIDE + 0.1, top - 0.1),
        ]
        skin = (
            self.paint
            if self.car.leaving
            else self.bonnet._replace(
                temperature=(2 * self.paint.temperature + self.bonnet.temperature) / 3
            )
        )
        self.canvas.body([(self.at(x, up, 0), 0.1) for x, up in corners], skin)
        self._plate(0, 0.33, 0.8, 0.06, _DARK)
        if self.car.leaving:
            self._tail()
        else:
            self._face()
        self._plate(0, 0.5, 0.26, 0.06, Material((0.7, 0.7, 0.66), 8, glow=(0.02, 0.02, 0.02)))
        if not self.detailed:
            return
        for stroke in (-0.17, -0.1, 0.02, 0.09, 0.16):
            self._plate(stroke, 0.5, 0.018, 0.035, _DARK)

    def _face(self) -> None:
        running = self.car.running
        self._plate(0, 0.62, 0.4, 0.05, _DARK._replace(temperature=31.0 if running else 7.0))
        glow = _times(_HEAD, 22.0 if running else 0.0)
        for side in (-1, 1):
            lamp = Material((0.5, 0.5, 0.5), 14.0 if running else 6.0, 0.9)
            self._plate(side * 0.64, 0.63, 0.17, 0.07, lamp)
            bulb = lamp._replace(glow=glow, temperature=22.0 if running else 6.0)
            self.canvas.body([(self.at(side * 0.64, 0.63, -0.03), 0.075)], bulb)

    def _tail(self) -> None:
        running = self.car.running
        glow = _times(_TAIL, 3.2 if running else 0.0)
        red = Material((0.28, 0.012, 0.01), 12.0 if running else 6.0, glow=glow)
        for side in (-1, 1):
            self._plate(side * 0.7, 0.74, 0.14, 0.09, red)
            self._plate(side * 0.7, 0.68, 0.08, 0.025, Material((0.4, 0.4, 0.38), 7))
        self._plate(0, 0.74, 0.5, 0.008, _DARK)
        pipe = Material((0.1, 0.1, 0.1), 62.0 if running else 7.0)
        self.canvas.body([(self.at(0.52, 0.29, -0.03), 0.05)], pipe)


def _times(colour: Colour, power: float) -> Colour:
    red, green, blue = colour
    return red * power, green * power, blue * power
