"""Which recipe a run follows: what was asked for, and what that resolves to."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cddfuse.errors import InputError
from cddfuse.models import FusionModel, load_weights
from cddfuse.models.weights import constructor_options, located
from cddfuse.recipes import RECIPES
from cddfuse.recipes.base import Recipe
from cddfuse.recipes.settings import merged, plain, read_settings, with_settings, write_settings

METHOD, PRESET = "cddfuse", "quick"
_KEYS = ("method", "preset", "weights")


@dataclass(frozen=True)
class Request:
    """What was asked for; None and settings that are missing are left to defaults."""

    method: str | None = None
    preset: str | None = None

    weights: str | None = None
    """Where the network starts from."""

    settings: Mapping[str, Any] = field(default_factory=dict)

    def over(self, config: Path) -> "Request":
        """This request over that of a YAML file, which may hold all of these and any setting."""
        settings = read_settings(config)
        keys = names_in(settings, config)
        settings = {name: value for name, value in settings.items() if name not in keys}
        if keys["method"] and self.method and keys["method"] != self.method:
            raise InputError(
                f"{config} holds settings of {keys['method']}, not of {self.method}.",
                setting="recipe",
            )
        given = {key: vars(self)[key] or keys[key] for key in _KEYS}
        return Request(**given, settings=merged(settings, self.settings))


@dataclass(frozen=True)
class Choice:
    """A request without anything left open."""

    method: str
    preset: str
    weights: str
    """Name, file or repository; empty for a network from scratch."""

    recipe: Recipe

    def write(self, path: Path) -> None:
        """Write everything to a YAML file."""
        keys = {key: vars(self)[key] for key in _KEYS if vars(self)[key]}
        write_settings(path, {**keys, **plain(self.recipe)})

    def trained_model(self) -> FusionModel | None:
        """The network with the weights it starts from; None from scratch."""
        if not self.weights:
            return None
        return load_weights(self.recipe.network, self.weights, defaults=self.recipe.options)

    @classmethod
    def read(cls, path: Path) -> "Choice":
        """What `write` wrote."""
        return resolved(Request().over(path))


def names_in(settings: Mapping[str, Any], path: Path) -> dict[str, str | None]:
    """Method, preset and weights that the settings of a file name."""
    names = {key: settings.get(key) for key in _KEYS}
    for key, name in names.items():
        if name is not None and not isinstance(name, str):
            raise InputError(f"{path} has the {key} {name!r}, which is no name: write a name.")
    return names


def preset(method: str, name: str) -> Recipe:
    """A recipe of the index."""
    if method not in RECIPES:
        raise InputError(
            f"there is no recipe {method}: known are {', '.join(RECIPES)}.", setting="recipe"
        )
    if name not in RECIPES[method]:
        raise InputError(
            f"{method} has no preset {name}: known are {', '.join(RECIPES[method])}.",
            setting="preset",
        )
    return RECIPES[method][name]


def resolved(request: Request) -> Choice:
    """Settings over a preset. Options of the network are those asked for: see `started`."""
    method, name = request.method or METHOD, request.preset or PRESET
    recipe = with_settings(preset(method, name), request.settings)
    return Choice(method, name, located(request.weights or "", recipe.network), recipe)


def started(request: Request) -> Choice:
    """A choice whose recipe has the network's real options.

    Weights come with the options of their network, and own them: options that were asked for and
    differ are an error.
    """
    if request.settings.get("steps") and request.settings.get("minutes"):
        raise InputError(
            "steps and minutes each say how long the run is: give one of them.", setting="minutes"
        )
    choice = resolved(request)
    recipe, model = choice.recipe, choice.trained_model()
    if model is None:
        return choice
    options = constructor_options(model)
    actual = with_settings(recipe, {name: options[name] for name in recipe.options})
    for name in recipe.options:
        wanted, found = getattr(recipe, name), getattr(actual, name)
        if name in request.settings and wanted != found:
            raise InputError(
                f"the weights {choice.weights} are of a network with {name} {found}, not {wanted}: "
                "leave the setting out, or start from other weights.",
                setting=name,
            )
    return replace(choice, recipe=actual)


def check_same(request: Request, choice: Choice) -> None:
    """Refuse a request that differs from what a run has been following."""
    if request.method or request.preset:
        preset(request.method or choice.method, request.preset or choice.preset)  # known at all?
    _same("recipe", choice.method, request.method)
    _same("preset", choice.preset, request.preset)
    if request.weights is not None:
        _same("weights", choice.weights or "none", located(request.weights, choice.recipe.network))
    again = with_settings(choice.recipe, request.settings)
    for name in request.settings:
        ours, asked = getattr(choice.recipe, name), getattr(again, name)
        if isinstance(asked, Mapping):  # the weights of losses
            for row, weight in asked.items():
                _same(name, ours.get(row, 0), weight, row)
        else:
            _same(name, ours, asked)


def _same(name: str, ours: object, asked: object, row: str = "") -> None:
    if asked is not None and asked != ours:
        what = f"{name} {row}".strip()
        raise InputError(
            f"the run has {what} {ours}, not {asked}: leave it out, or start another run.",
            setting=name,
        )
