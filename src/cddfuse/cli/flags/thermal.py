"""Flags of thermal images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cyclopts import Parameter

from cddfuse.cli import record
from cddfuse.cli.common import Flag
from cddfuse.io import Ranges
from cddfuse.io.thermal.reading import ThermalReading


@Parameter(name="*", group="Thermal images")
@dataclass(frozen=True)
class ThermalFlags:
    """What is done with thermal counts and temperatures."""

    agc: Literal["none", "plateau", "clahe"] | None = None
    """Contrast after the range: plateau equalises the histogram of the whole folder or clip, clahe
    tiles of each image; by default none."""

    celsius: Flag = False
    """Write the temperatures too, as a float TIFF beside each result (NAME_celsius.tif)."""

    kelvin_per_count: float | None = None
    """Kelvin of one count of second images that do not say it: 0.01 or 0.04 for most 16-bit TIFF
    files of thermal cameras. FLIR files say it themselves."""

    mapping: Path | None = None
    """Use the value range and the contrast of an earlier run: its folder or its fuse.json."""

    def reading(self) -> ThermalReading:
        """How the library reads thermal images."""
        return ThermalReading(self.celsius)

    def ranges(self, output: Path, texts: Sequence[str], *, overwrite: bool) -> Ranges:
        """How values become [0, 1]: as given, as an earlier run did it, or as found."""
        asked = record.Asked(tuple(texts), self.agc, self.kelvin_per_count, self.mapping)
        return record.ranges_for(output, asked, overwrite=overwrite)
