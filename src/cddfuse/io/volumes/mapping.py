"""Which values of a volume become black and white: one mapping for all its slices."""

from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from cddfuse.errors import InputError
from cddfuse.io.decode import Decoded
from cddfuse.io.metadata import Metadata
from cddfuse.io.ranges import Range, Ranges
from cddfuse.io.volumes.options import Side, VolumeReading
from cddfuse.io.volumes.volume import Volume

WINDOWS = {"brain": (40, 80), "soft-tissue": (40, 400), "lung": (-600, 1500), "bone": (400, 1800)}
"""Level and width in Hounsfield units."""


class Mapping(NamedTuple):
    """How values become [0, 1]."""

    range: Range
    inverted: bool = False

    @property
    def darkest(self) -> float:
        """The value that becomes 0."""
        return self.range.high if self.inverted else self.range.low

    def apply(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values in [0, 1]."""
        low, high = self.range
        scaled = ((values - low) / (high - low)).clip(0, 1).astype(np.float32)
        return 1 - scaled if self.inverted else scaled


def sides(texts: Sequence[str], setting: str) -> dict[str, str]:
    """Texts such as `first=2` by side; what names no side is under the empty name."""
    found: dict[str, str] = {}
    for text in texts:
        side, _, rest = text.rpartition("=")
        if side not in ("", "first", "second"):
            raise InputError(f"there is no side {side} of a pair: use first or second.", setting)
        if side in found:
            raise InputError(f"{setting} is given twice for one side: give it once.", setting)
        found[side] = rest
    return found


def mappings(
    first: Volume, second: Volume, reading: VolumeReading, ranges: Ranges
) -> tuple[Mapping, Mapping, list[str]]:
    """The mapping of each side, and sentences about how they were found."""
    volumes: dict[Side, Volume] = {"first": first, "second": second}
    chosen: dict[Side, Mapping] = {}
    notes: list[str] = []
    texts: list[str] = []
    windows = _windows(volumes, reading)
    for (side, volume), rule in zip(volumes.items(), ranges, strict=True):
        found, unit = windows.get(side), " (window)"
        if reading.suv and volume.modality == "PT":
            if found:
                raise InputError(f"the {side} volume has a window and SUV: give one.", "suv")
            found, unit = _uptake(volume, reading.suv, notes), " (SUV)"
        if found and rule.resolved and rule.given and rule.given != found:
            raise InputError(
                f"the {side} volume has the range {rule.given} and another by window or SUV: give "
                "one of them, or overwrite the results that have the former.",
                ("range", "overwrite"),
            )
        if found is None:
            pixels = volume.values.ravel(order="K")
            if np.isnan(pixels).all():
                raise InputError(f"{volume.name} holds no values at all: check it.")
            decoded = Decoded(
                pixels, volume.full or (0.0, 1.0), volume.full is None, Metadata(bits=16)
            )
            found, unit = rule.of(decoded) or _full(volume), ""
        chosen[side] = Mapping(found, volume.inverted)
        uptake = reading.suv if ":" in reading.suv else f"0:{reading.suv}"
        shown = f"{uptake} SUV" if unit == " (SUV)" else f"{found}{unit}"
        texts.append(f"{side}={shown}{', inverted (MONOCHROME1)' if volume.inverted else ''}")
    if reading.suv and not any(volume.modality == "PT" for volume in volumes.values()):
        raise InputError("neither volume is a PET series of DICOM: SUV needs one.", "suv")
    return chosen["first"], chosen["second"], [*notes, f"value range: {', '.join(texts)}"]


def _full(volume: Volume) -> Range:
    if volume.full:
        return Range(*volume.full)
    if np.nanmin(volume.values) >= 0 and np.nanmax(volume.values) <= 1:
        return Range(0.0, 1.0)
    raise InputError(
        f"{volume.name} has no full range, for its values are not of 8 bits: use minmax.", "range"
    )


def _windows(volumes: dict[Side, Volume], reading: VolumeReading) -> dict[Side, Range]:
    texts = sides(reading.window, "window")
    found: dict[Side, Range] = {}
    if "" in texts:
        tomograms = [side for side, volume in volumes.items() if volume.modality == "CT"]
        if not tomograms:
            raise InputError(
                "neither volume is a CT series of DICOM: say which side the window is for, as in "
                f"first={texts['']}.",
                "window",
            )
        found = {side: _window(texts[""], volumes[side]) for side in tomograms}
    named = {
        side: _window(texts[side], volume) for side, volume in volumes.items() if side in texts
    }
    return {**found, **named}


def _window(text: str, volume: Volume) -> Range:
    if text == "file":
        if volume.window is None:
            raise InputError(f"{volume.name} proposes no window: give LEVEL:WIDTH.", "window")
        level, width = volume.window
    elif text in WINDOWS:
        level, width = WINDOWS[text]
    else:
        level, width = _two(text)
        if not width > 0:
            raise InputError(
                f"there is no window {text}: use LEVEL:WIDTH, {', '.join(WINDOWS)} or file.",
                "window",
            )
    return Range(level - width / 2, level + width / 2)


def _uptake(volume: Volume, text: str, notes: list[str]) -> Range | None:
    low, high = _two(text if ":" in text else f"0:{text}")
    if not low < high:
        raise InputError(f"there is no SUV range {text}: use HIGH or LOW:HIGH, such as 10.", "suv")
    if not volume.uptake.factor:
        notes.append(
            f"{volume.name} has no SUV, for {volume.uptake.refusal}: its percentiles are used"
        )
        return None
    return Range(low / volume.uptake.factor, high / volume.uptake.factor)


def _two(text: str) -> tuple[float, float]:
    """Two finite numbers, or (0, 0)."""
    try:
        values = tuple(float(part) for part in text.split(":"))
    except ValueError:
        return 0.0, 0.0
    usable = len(values) == 2 and bool(np.isfinite(values).all())
    return cast(tuple[float, float], values) if usable else (0.0, 0.0)
