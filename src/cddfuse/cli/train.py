"""The verb `train`."""

import os
from collections.abc import Sequence
from dataclasses import fields, make_dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import yaml
from cyclopts import Parameter
from docstring_parser import parse_from_object
from rich.console import Console

from cddfuse.cli.common import Flag, stderr
from cddfuse.cli.messages import left_out
from cddfuse.datasets.base import PairFolder, held_out
from cddfuse.errors import InputError
from cddfuse.io import PairedPaths, pair_folders, replacing
from cddfuse.models import create_model
from cddfuse.runtime.allocator import keep_memory

if not all(
    find_spec(name) for name in ("lightning_fabric", "matplotlib", "pydantic", "tensorboard")
):
    raise InputError("training needs more packages: pip install 'cddfuse[train]'.")

from cddfuse.recipes import RECIPES, Recipe
from cddfuse.recipes.files import read_settings, with_settings, write_recipe
from cddfuse.train import STATE, WEIGHTS, Outcome, Running, batches
from cddfuse.train import train as follow

RECIPE, PAIRS = "recipe.yaml", "pairs.yaml"


def _overrides() -> type:
    """A dataclass with every setting of every recipe, none of them set."""
    methods = {
        kind: method if kind is type(recipe) else ""
        for method, presets in RECIPES.items()
        for recipe in presets.values()
        for kind in type(recipe).__mro__
        if issubclass(kind, Recipe)
    }
    texts: dict[str, list[str]] = {}
    for kind, method in methods.items():
        for text in parse_from_object(kind).params:
            said = f"{method}: {text.description}" if method else str(text.description)
            texts.setdefault(text.arg_name, []).append(said)
    classes = list(methods)
    settings = {field.name: field.type for kind in classes for field in fields(kind)}
    return make_dataclass(
        "Overrides",
        [
            (
                name,
                Annotated[
                    kind | None,  # type: ignore[operator]
                    Parameter(
                        help=" ".join(texts.get(name, [])),
                        group="Recipe",
                        show_default=False,
                        consume_multiple=True,
                        negative_iterable=(),
                    ),
                ],
                None,
            )
            for name, kind in settings.items()
        ],
        namespace={"__module__": __name__},  # cyclopts looks its types up there
    )


Overrides: Any = _overrides()
Folders = Annotated[tuple[Path, ...], Parameter(consume_multiple=True, negative=())]


def train(
    first: Path | None = None,
    second: Path | None = None,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    recipe: str = "cddfuse",
    preset: str = "quick",
    config: Path | None = None,
    weights: str | None = None,
    also: Folders = (),
    val: Folders = (),
    val_share: float = 0.06,
    val_group: int = 0,
    resume: Flag = False,
    quiet: Flag = False,
    overrides: Annotated[Overrides | None, Parameter(name="*")] = None,
    running: Annotated[Running | None, Parameter(name="*", group="Running")] = None,
) -> int:
    """Train a network on your own pairs. Two folders are enough.

    The output folder receives weights.safetensors (for `cddfuse fuse --weights`), the best weights
    on the validation pairs, the recipe, a log, curves, and pictures of the validation pairs. Ctrl-C
    saves; `cddfuse train -o FOLDER --resume` goes on.

    Args:
        first: The folder of visible (PET, SPECT, CT) images; or a folder that holds both kinds.
        second: The folder of infrared (MRI) images. Files are paired by name.
        output: The folder of the run.
        also: More folders, each of which holds both kinds.
        recipe: The method.
        preset: Of the method's settings: quick, released; others by method.
        config: A YAML file of settings, over the preset; flags go over both.
        weights: Start from these instead of from scratch.
        val: One or two folders of validation pairs; by default a share of the pairs is held out.
        val_share: That share; 0 trains on all pairs and does not validate.
        val_group: So many characters at the end of a name number the images of one case (a
            patient, a video): cases are held out whole.
        resume: Go on with the run in the output folder, by its own recipe and pairs.
        quiet: Print nothing but errors.
    """
    keep_memory()
    console = stderr(quiet or os.environ.get("LOCAL_RANK", "0") != "0")
    given = {} if overrides is None else vars(overrides)
    given = {name: value for name, value in given.items() if value is not None}
    resume = resume and (output / STATE).is_file()
    if resume:
        if given or config or weights or also or val:
            raise InputError("a run goes on by its own recipe and data: leave the settings out.")
        method, chosen = _stored_recipe(output / RECIPE)
        learned, held = _stored_pairs(output / PAIRS)
    else:
        method, chosen = _recipe(output, recipe, preset, config, given)
        learned, held = _pairs(first, second, also, val, val_share, val_group, console)
        write_recipe(output / RECIPE, method, chosen)
        _store_pairs(output / PAIRS, learned, held)
    console.print(f"{len(learned)} pairs to train on, {len(held)} to validate; run: {output}")
    model = create_model(method, weights) if weights else None
    outcome = follow(
        chosen,
        batches(chosen, learned),
        output,
        model=model,
        validation=held,
        running=running,
        resume=resume,
        facts={"cddfuse.recipe": (output / RECIPE).read_text()},
        quiet=console.quiet,
    )
    return _report(outcome, console)


def _stored_recipe(path: Path) -> tuple[str, Recipe]:
    settings = read_settings(path)
    method = settings.pop("method", "")
    return method, with_settings(_preset(method, "released"), settings)


def _recipe(
    output: Path, method: str, preset: str, config: Path | None, flags: dict[str, Any]
) -> tuple[str, Recipe]:
    """The method and its resolved recipe."""
    if (output / STATE).is_file():
        raise InputError(f"{output} holds a run already: --resume it, or choose another folder.")
    settings = read_settings(config) if config else {}
    method = settings.pop("method", method)
    return method, with_settings(_preset(method, preset), {**settings, **flags})


def _preset(method: str, name: str) -> Recipe:
    if method not in RECIPES:
        raise InputError(f"there is no recipe {method}: known are {', '.join(RECIPES)}.")
    if name not in RECIPES[method]:
        raise InputError(f"{method} has no preset {name}: known are {', '.join(RECIPES[method])}.")
    return RECIPES[method][name]


def _pairs(
    first: Path | None,
    second: Path | None,
    also: Sequence[Path],
    val: Sequence[Path],
    share: float,
    group: int,
    console: Console,
) -> tuple[PairFolder, PairFolder]:
    """Pairs to learn from and pairs to look at. Bad files are named and left out."""
    if first is None:
        raise InputError("name the folders to train on: cddfuse train VISIBLE INFRARED -o RUN.")
    for path in (first, *([second] if second else []), *also, *val):
        if not path.is_dir():
            raise InputError(f"there is no folder {path}: check the name.")
    if len(val) > 2:
        raise InputError("--val takes one folder that holds both kinds of images, or two folders.")
    pairings = [pair_folders(first, second), *(pair_folders(folder) for folder in also)]
    pairs = [pair for pairing in pairings for pair in pairing.pairs]
    for pairing in pairings:
        for skipped in pairing.left_out:
            console.print(left_out(skipped))
    if val:
        learn, look = pairs, pair_folders(*val).pairs
    else:
        learn, look = held_out(pairs, share, group)
    folders = []
    for paths in (learn, look):
        folder, failures = PairFolder(paths).readable()
        for reason in failures:
            console.print(f"left out: {reason}")
        folders.append(folder)
    if not folders[0]:
        raise InputError(f"no pair of {first} is left to train on: see the reasons above.")
    return folders[0], folders[1]


def _store_pairs(path: Path, learned: PairFolder, held: PairFolder) -> None:
    """Note the very files, so that a resumed run sees the same."""
    lists = {
        key: [[name, *(str(file.resolve()) for file in files)] for name, *files in folder.paths]
        for key, folder in (("train", learned), ("validate", held))
    }
    with replacing(path) as temporary:
        temporary.write_text(yaml.safe_dump(lists, default_flow_style=None, width=1000))


def _stored_pairs(path: Path) -> tuple[PairFolder, PairFolder]:
    lists = read_settings(path)
    folders = []
    for key in ("train", "validate"):
        paths = [PairedPaths(name, Path(one), Path(two)) for name, one, two in lists.get(key, [])]
        folder, failures = PairFolder(paths).readable()
        if failures:
            raise InputError(f"the run cannot go on without its data: {failures[0]}")
        folders.append(folder)
    return folders[0], folders[1]


def _report(outcome: Outcome, console: Console) -> int:
    if outcome.skipped:
        console.print(f"{outcome.skipped} steps were left out: their loss was not a number")
    if not outcome.finished:
        console.print(
            f"stopped at step {outcome.step} of {outcome.total}; to go on: "
            f"cddfuse train -o {outcome.folder} --resume"
        )
        return 130
    console.print(
        f"trained {outcome.total} steps; curves and pictures in {outcome.folder}; to use it: "
        f"cddfuse fuse FIRST SECOND -o OUT --model {outcome.model.card.name} "
        f"--weights {outcome.folder / WEIGHTS}"
    )
    return 0
