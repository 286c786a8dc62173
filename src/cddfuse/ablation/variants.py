"""The variants of CDDFuse that its paper compares (Table 5), as settings of the recipe."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cddfuse.errors import InputError
from cddfuse.recipes.cddfuse import CDDFuseRecipe


@dataclass(frozen=True)
class Variant:
    """One row of the table."""

    name: str
    """The only name: on the command line, and of the folder of its run."""

    title: str
    """What tables call it."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    """What differs from the full recipe."""


VARIANTS: Mapping[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant("no_decomposition", "no decomposition loss", {"decomposition": 0.0}),
        Variant("invertible", "invertible blocks only", {"base": "invertible"}),
        Variant("transformers", "transformers only", {"detail": "transformer"}),
        Variant("exchanged", "branches exchanged", {"base": "invertible", "detail": "transformer"}),
        Variant("single_stage", "one training stage", {"single_stage": True}),
        Variant("full", "full", {}),
    )
}
FULL = VARIANTS["full"]

HEADINGS = ("decomposition loss", "base", "detail", "stages")
"""Of the columns that say what a variant is made of."""


def configuration(recipe: CDDFuseRecipe) -> tuple[str, ...]:
    """The cells under `HEADINGS`."""
    return (
        f"{recipe.decomposition:g}" if recipe.decomposition else "-",
        recipe.base,
        recipe.detail,
        str(len(recipe.stages())),
    )


def chosen(names: Sequence[str]) -> list[Variant]:
    """Variants in the order of the table; all of them without names."""
    unknown = [name for name in names if name not in VARIANTS]
    if unknown:
        raise InputError(
            f"there is no variant {unknown[0]}: known are {', '.join(VARIANTS)}.",
            setting="variants",
        )
    return [variant for name, variant in VARIANTS.items() if not names or name in names]
