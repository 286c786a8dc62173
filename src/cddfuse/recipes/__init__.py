"""How each network is trained. The index: method, then preset."""

from collections.abc import Mapping

from cddfuse.recipes import cddfuse
from cddfuse.recipes.base import Recipe, Stage, learning_rate

RECIPES: Mapping[str, Mapping[str, Recipe]] = {"cddfuse": cddfuse.PRESETS}

__all__ = ["RECIPES", "Recipe", "Stage", "learning_rate"]
