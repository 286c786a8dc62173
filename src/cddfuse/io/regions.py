"""Regions of images that are shown enlarged, as users write them: `01:120,80,64,48`."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from cddfuse.errors import InputError

_WORD = re.compile(r"(?P<name>.+)[:=](?P<numbers>\d+,\d+,\d+,\d+)")


class Region(NamedTuple):
    """A rectangle of an image, in pixels."""

    left: int
    top: int
    width: int
    height: int


def parse_regions(words: Sequence[str], setting: str = "crops") -> dict[str, list[Region]]:
    """Regions by the name of their image, from words NAME:X,Y,W,H; X and Y are left and top.

    Args:
        words: several may name one image.
        setting: what an error names.
    """
    found: dict[str, list[Region]] = {}
    for word in words:
        match = _WORD.fullmatch(word.strip())
        region = Region(*map(int, match["numbers"].split(","))) if match else None
        if match is None or region is None or not (region.width and region.height):
            raise InputError(
                f"{word} is no region of an image: write NAME:X,Y,W,H, such as 01:120,80,64,48.",
                setting=setting,
            )
        found.setdefault(match["name"], []).append(region)
    return found


def require_inside(region: Region, name: str, height: int, width: int) -> None:
    """Refuse a region that is not within its image."""
    if region.left + region.width > width or region.top + region.height > height:
        raise InputError(
            f"the region {','.join(map(str, region))} of {name} leaves the image, which is "
            f"{width}x{height}: move it.",
            setting="crops",
        )
