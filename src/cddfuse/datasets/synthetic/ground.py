"""The sky, the road and the pavements."""

import numpy as np

from cddfuse.datasets.synthetic.camera import Array, Points
from cddfuse.datasets.synthetic.canvas import UP, Canvas, Material
from cddfuse.datasets.synthetic.layout import Street
from cddfuse.datasets.synthetic.texture import fractal, ground_noise

_ASPHALT, _SLAB = 0.075, 0.16
_KERBSTONE = Material((0.30, 0.29, 0.27), 10.5)
_IRON = Material((0.035, 0.033, 0.03), 12.5)
_PAINT = np.array([0.8, 0.8, 0.74], np.float32)
_ROAD_TEMPERATURE, _SLAB_TEMPERATURE = 9.0, 6.0
_FAR_END = 130.0


def draw_sky(canvas: Canvas, generator: np.random.Generator) -> None:
    """A night sky over a town: dark above, hazy and brighter at the horizon; colder upwards."""
    camera = canvas.camera
    canvas.start("sky")
    town, stars = generator.uniform(0.5, 1.2), generator.random((generator.integers(30, 70), 3))
    clouds = fractal(generator, camera.height, camera.width, camera.width / 3, octaves=6)
    rows = np.arange(camera.height, dtype=np.float32)[:, None]
    rise = np.clip((camera.horizon - rows) / camera.horizon, 0, 1)
    haze = (0.007 + 0.022 * town * np.exp(-3.5 * rise)) * (1 + 0.2 * np.clip(clouds, -1.5, 3))
    canvas.glow[:] = haze[..., None] * np.array([0.85, 0.74, 0.86], np.float32)
    canvas.glow += (0.005 * rise)[..., None] * np.array([0.1, 0.4, 1.2], np.float32)
    canvas.surface[..., 3] = -21 + 15 * (1 - rise) ** 2 + 2.2 * clouds
    for row, column, power in stars:
        place = int(row * camera.horizon * 0.7), int(column * camera.width)
        canvas.glow[place] += np.float32(0.3 * power**3)


def draw_ground(canvas: Canvas, scenery: Street, generator: np.random.Generator) -> None:
    """Road with paint, patches and manholes, kerbs, and pavements of slabs."""
    camera = canvas.camera
    x, z = camera.ground()
    rows = slice(camera.height - len(x), camera.height)
    footprint = z * z / np.float32(camera.focal * camera.eye)
    marks = generator.random((9, 4))
    wide, middle, fine, grain = (
        ground_noise(generator, x, z, wavelength, footprint)
        for wavelength in (3.1, 0.9, 0.21, 0.06)
    )
    road = np.abs(x) < scenery.kerb
    tracks = _wheel_tracks(x)
    grey = np.where(road, _ASPHALT * tracks, _SLAB * _joints(x, z, footprint))
    grey = grey * np.maximum(1 + 0.12 * wide + 0.1 * middle + 0.16 * fine + 0.2 * grain, 0.2)
    warmth = np.where(road, _ROAD_TEMPERATURE + 6 * (1 - tracks), _SLAB_TEMPERATURE)
    surface = np.empty((*x.shape, 4), np.float32)
    surface[..., :3] = grey[..., None] * np.array([1.0, 0.97, 0.93], np.float32)
    surface[..., 3] = warmth + 0.45 * wide + 0.35 * middle
    glow = np.zeros((*x.shape, 3), np.float32)
    box = rows, slice(0, camera.width)
    canvas.start("pavement")
    canvas.stamp(box, ~road, surface, glow, z, UP, soft=0)
    canvas.start("road")
    canvas.stamp(box, road, surface, glow, z, UP, soft=0)
    _repairs(canvas, scenery, marks)
    wear = np.clip(0.75 + 0.22 * fine + 0.22 * middle, 0.1, 1)
    paint = _markings(scenery, x, z) * wear * np.clip(0.35 / footprint, 0, 1)
    bare = canvas.surface[box][..., :3]
    bare += (paint.astype(np.float32) * np.float32(0.8))[..., None] * (_PAINT - bare)
    _kerbs(canvas, scenery)


def flat(*corners: tuple[float, float]) -> Points:
    """Points of the road plane, from pairs of x and z."""
    return np.array([(x, 0.0, z) for x, z in corners])


def shadow(canvas: Canvas, x: float, z: float, half_width: float, half_length: float) -> None:
    """A contact shadow."""
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    for size in (1.35, 1.15, 0.95):
        ring = flat(
            *zip(
                x + size * half_width * np.cos(angles),
                z + size * half_length * np.sin(angles),
                strict=True,
            )
        )
        canvas.shade(canvas.camera.project(ring), 0.6)


def _wheel_tracks(x: Array) -> Array:
    """1, and a little less where wheels run: darker in the visible image, warmer in infrared."""
    middle = np.abs(np.abs(x) - np.float32(1.55))
    return 1 - np.float32(0.16) * np.exp(-(((middle - np.float32(0.75)) / np.float32(0.28)) ** 2))


def _joints(x: Array, z: Array, footprint: Array) -> Array:
    """1, and less in the joints of slabs of 0.8 by 0.6 metres."""
    across = np.abs((x / np.float32(0.8)) % 1 - np.float32(0.5)) > 0.47
    along = np.abs((z / np.float32(0.6)) % 1 - np.float32(0.5)) > 0.46
    return 1 - np.float32(0.5) * (across | along) * np.clip(0.12 / footprint, 0, 1)


def _markings(scenery: Street, x: Array, z: Array) -> Array:
    """1 where the road is painted."""
    side = np.abs(x)
    dashes = (side < 0.07) & (z % 6 < 3)
    bay = np.abs(side - (scenery.kerb - 2.3)) < 0.06
    ends = (side > scenery.kerb - 2.3) & (side < scenery.kerb) & (z % 6.2 < 0.12)
    painted = dashes | bay & (z % 1.5 < 1.0) | ends
    if scenery.crossing > 0:
        start, length = scenery.crossing, 3.6
        painted &= (z < start - 1.6) | (z > start + length + 1.6)
        painted |= (
            (z > start) & (z < start + length) & (x % 1.0 < 0.5) & (side < scenery.kerb - 0.3)
        )
        stop = start - 1.2
        painted |= (np.abs(z - stop) < 0.17) & (x > 0.1) & (x < scenery.kerb - 2.3)
    else:
        shaft = (np.abs(x - 1.6) < 0.08) & (np.abs(z - 9.5) < 1.3)
        head = (np.abs(x - 1.6) < (12.2 - z) * 0.3) & (z > 10.8) & (z < 12.2)
        painted |= shaft | head
    return painted.astype(np.float32)


def _repairs(canvas: Canvas, scenery: Street, marks: Points) -> None:
    """Patches of newer asphalt and iron covers, from numbers in [0, 1)."""
    canvas.start("road")
    angles = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    for index, (across, along, width, length) in enumerate(marks):
        x, z = (2 * across - 1) * (scenery.kerb - 1.5), 6.5 + 32 * along**1.5
        if index % 3 == 0:
            ring = flat(*zip(x + 0.33 * np.cos(angles), z + 0.33 * np.sin(angles), strict=True))
            canvas.fill(canvas.camera.project(ring), _IRON, z, UP, soft=0)
        else:
            right, far = x + 0.5 + width, z + 0.8 + 4 * length
            corners = flat((x, z), (right, z), (right + 0.1, far), (x - 0.05, far))
            canvas.shade(canvas.camera.project(corners), 0.62)


def _kerbs(canvas: Canvas, scenery: Street) -> None:
    """Kerbstones: a low face towards the road and a light top, in pieces so that light varies."""
    canvas.start("pavement")
    edges = np.geomspace(2.0, _FAR_END, 50)
    for side in (-1, 1):
        inner, outer = side * scenery.kerb, side * (scenery.kerb + 0.2)
        for near, far in zip(edges[-2::-1], edges[:0:-1], strict=True):
            top = ((inner, 0.06, near), (outer, 0.06, near), (outer, 0.06, far), (inner, 0.06, far))
            front = (
                (inner, -0.06, near),
                (inner, 0.06, near),
                (inner, 0.06, far),
                (inner, -0.06, far),
            )
            canvas.face(top, _KERBSTONE, UP)
            canvas.face(front, _KERBSTONE._replace(colour=(0.16, 0.15, 0.14)), (-side, 0, 0))
