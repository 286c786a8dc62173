"""Counts of a FLIR camera to degrees Celsius.

A detector counts the radiance W of an ideal black body of temperature T as a signal

    S(T) = R1 / (R2 (exp(B / T) - F)) - O,

Planck's law over the band of the camera with the constants R1, R2, B, F and O of its calibration.
Through a window (transmission t) with air on both sides (transmission tau each), an object of
emissivity e gives the counts

    S' = tau t tau (e S(object) + (1 - e) S(reflected))
         + (1 - tau) t tau S(air) + (1 - t) tau S(window) + (1 - tau) S(air),

which is solved for the temperature of the object. The transmission of the air over half the
distance d in metres,

    tau = X exp(-sqrt(d / 2) (A1 + B1 sqrt(w))) + (1 - X) exp(-sqrt(d / 2) (A2 + B2 sqrt(w))),

depends on the water w in it, the exponential of a polynomial of its temperature, times the relative
humidity.

Sources: FLIR, "Installation manual FLIR A3xx and A6xx", section on the measurement formula; Minkina
and Dudzik, "Infrared Thermography: Errors and Uncertainties" (2009); Tattersall, Thermimage (2017),
for the two halves of the air. The layout of the constants in files is that which ExifTool
documents.
"""

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

KELVIN = 273.15
"""0 degrees Celsius."""

# Water in the air in g/m3 at full humidity is the exponential of this, in powers of degrees C.
_WATER = (1.5587, 6.939e-2, -2.7816e-4, 6.8455e-7)


@dataclass(frozen=True)
class Calibration:
    """The constants of a camera and the scene that it was told of. Temperatures are in kelvin."""

    emissivity: float
    distance: float
    """In metres."""

    reflected: float
    air: float
    window: float
    transmission: float
    """Of the window."""

    humidity: float
    """Relative; cameras store a share or percent."""

    r1: float
    b: float
    f: float
    a1: float
    a2: float
    b1: float
    b2: float
    x: float
    o: float
    r2: float

    @property
    def usable(self) -> bool:
        """Whether the formula has a value: files without calibration hold zeros or noise."""
        numbers = [getattr(self, field.name) for field in fields(self)]
        if not all(map(math.isfinite, numbers)):
            return False
        positive = self.r1, self.b, self.f, self.r2, self.reflected, self.air, self.window
        shares = self.emissivity, self.transmission
        if min(positive) <= 0 or not all(0 < share <= 1 for share in shares):
            return False
        if not (0 <= self.distance <= 1e5 and 0 <= self.humidity <= 100):
            return False
        try:
            tau, offset = self._background()
        except (ArithmeticError, ValueError):
            return False
        return 0 < tau <= 1.1 and math.isfinite(offset)

    def celsius(self, counts: NDArray[np.uint16]) -> NDArray[np.float32]:
        """Temperatures (H, W) in degrees Celsius of counts (H, W).

        Counts that are lower than those of a body at absolute zero become -273.15.
        """
        # A table of all counts is exact and cheaper than the formula for every pixel.
        table = self._of(np.arange(2**16, dtype=np.float64))
        return table.astype(np.float32)[counts]

    def _of(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        tau, background = self._background()
        own = counts / (self.emissivity * tau * self.transmission * tau) - background
        radiance = np.maximum(self.r2 * (own + self.o), np.finfo(float).tiny)
        with np.errstate(over="ignore", divide="ignore"):
            logarithm = np.log(np.maximum(self.r1 / radiance + self.f, 1))
            kelvin: NDArray[np.float64] = self.b / logarithm
        return np.minimum(kelvin, np.finfo(np.float32).max) - KELVIN

    def _background(self) -> tuple[float, float]:
        """Transmission of the air, and the counts that do not come from the object over those."""
        tau, e, t = self._atmosphere(), self.emissivity, self.transmission
        air = self._signal(self.air)
        parts = (
            (1 - e) / e * self._signal(self.reflected),
            (1 - tau) / (e * tau) * air,
            (1 - t) / (e * tau * t) * self._signal(self.window),
            (1 - tau) / (e * tau * t * tau) * air,
        )
        return tau, sum(parts)

    def _atmosphere(self) -> float:
        degrees = self.air - KELVIN
        water = math.exp(sum(k * degrees**power for power, k in enumerate(_WATER)))
        share = self.humidity / 100 if self.humidity > 1 else self.humidity
        moist, length = math.sqrt(share * water), math.sqrt(self.distance / 2)
        return self.x * math.exp(-length * (self.a1 + self.b1 * moist)) + (1 - self.x) * math.exp(
            -length * (self.a2 + self.b2 * moist)
        )

    def _signal(self, kelvin: float) -> float:
        """Counts of a black body."""
        return self.r1 / (self.r2 * (math.exp(self.b / kelvin) - self.f)) - self.o
