"""How each network is trained. The index: method, then preset."""

from collections.abc import Mapping

from cddfuse.recipes import (
    cddfuse,
    cddfuse_small,
    defusion,
    didfuse,
    emfusion,
    reconet,
    rfnnest,
    sdnet,
    tardal,
    u2fusion,
)
from cddfuse.recipes.base import Recipe, Stage, learning_rate

RECIPES: Mapping[str, Mapping[str, Recipe]] = {
    "cddfuse": cddfuse.PRESETS,
    "cddfuse_small": cddfuse_small.PRESETS,
    "didfuse": didfuse.PRESETS,
    "u2fusion": u2fusion.PRESETS,
    "sdnet": sdnet.PRESETS,
    "rfnnest": rfnnest.PRESETS,
    "tardal": tardal.PRESETS,
    "defusion": defusion.PRESETS,
    "reconet": reconet.PRESETS,
    "emfusion": emfusion.PRESETS,
}

__all__ = ["RECIPES", "Recipe", "Stage", "learning_rate"]
