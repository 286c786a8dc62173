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


def write_recipe(path: Path, method: str, recipe: Recipe) -> None:
    """Write every setting, and the method they belong to."""
    values = {name: _plain(value) for name, value in asdict(recipe).items()}
    with replacing(path) as temporary:
        temporary.write_text(yaml.safe_dump({"method": method, **values}, sort_keys=False))


def read_settings(path: Path) -> dict[str, Any]:
    """The settings of a file, as they stand there. `method` may be among them."""
    try:
        settings = yaml.safe_load(path.read_text())
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InputError(f"there is no recipe {path}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not YAML: {str(error).splitlines()[0]}.") from error
    if not isinstance(settings, dict):
        raise InputError(f"{path} is no recipe: lines such as 'batch: 8' are wanted.")
    return settings


def with_settings(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """A recipe with some settings replaced, each checked against its type.

    Of the three ways to say how long a run is, the one among `settings` counts.
    """
    known = asdict(recipe)
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise InputError(f"unknown setting {unknown[0]}: known are {', '.join(known)}.")
    try:
        settings = {**_other_lengths(settings), **settings}
        checked = TypeAdapter(type(recipe)).validate_python({**known, **settings})
    except ValidationError as error:
        first = error.errors()[0]
        if isinstance(cause := first.get("ctx", {}).get("error"), InputError):
            raise cause from error
        name = ".".join(str(part) for part in first["loc"])
        raise InputError(f"setting {name} is {first['input']!r}: {first['msg']}.") from error
    return replace(checked)


def _other_lengths(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Lengths that would count before those among the settings, switched off."""
    if "steps" in settings:
        return {"minutes": 0}
    return {"minutes": 0, "steps": 0} if "epochs" in settings else {}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
