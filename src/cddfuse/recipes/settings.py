"""Recipes as YAML files: plain values only, checked when read."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from cddfuse.errors import InputError
from cddfuse.io.files import replacing
from cddfuse.recipes.base import Recipe

# In C where PyYAML was built with it: lists of pairs are long.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def write_settings(path: Path, settings: Mapping[str, Any], *, width: int = 80) -> None:
    """Write plain values, in their order. Lists of plain values take one line."""
    text = yaml.dump(
        dict(settings), Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=width
    )
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_settings(path: Path) -> dict[str, Any]:
    """The settings of a file, as they stand there."""
    try:
        settings = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}): check its name.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not YAML: {str(error).splitlines()[0]}.") from error
    if not isinstance(settings, dict):
        raise InputError(f"{path} holds no settings: it needs lines such as 'batch: 8'.")
    return settings


def plain(recipe: Recipe) -> dict[str, Any]:
    """The settings of a recipe as values that YAML has."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(recipe).items()
    }


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Settings over settings; the weights of losses are replaced one by one.

    Of the three ways to say how long a run is, those above count.
    """
    result = {**below, **_other_lengths(above), **above}
    losses = [settings.get("loss") for settings in (below, above)]
    if all(isinstance(rows, Mapping) for rows in losses):
        result["loss"] = {**losses[0], **losses[1]}  # type: ignore[dict-item]
    return result


def with_settings(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """A recipe with some settings replaced (see `merged`), each checked against its type."""
    known = asdict(recipe)
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise InputError(f"there is no setting {unknown[0]}: known are {', '.join(known)}.")
    wanted = merged(known, settings)
    try:
        checked = TypeAdapter(type(recipe)).validate_python(wanted)
    except ValidationError as error:
        first = error.errors()[0]
        if isinstance(cause := first.get("ctx", {}).get("error"), InputError):
            raise cause from error
        name = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"{name} is {first['input']!r}: {first['msg']}.", setting=str(first["loc"][0])
        ) from error
    return replace(checked)


def _other_lengths(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Lengths that would count before those among the settings, switched off."""
    if "steps" in settings:
        return {"minutes": 0}
    return {"minutes": 0, "steps": 0} if "epochs" in settings else {}
