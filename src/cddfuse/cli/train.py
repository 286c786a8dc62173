"""The verb `train`. Its flags are those of the recipe that is chosen."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import fields, make_dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, get_origin

from cyclopts import App, Group, Parameter
from docstring_parser import parse_from_object
from rich.console import Console

from cddfuse.cli.common import Flag, Words, byte_count, progress, stderr
from cddfuse.cli.messages import sentence
from cddfuse.datasets.base import Reader
from cddfuse.errors import InputError
from cddfuse.io import Ranges, expanded
from cddfuse.losses import LOSSES

if not all(
    find_spec(name) for name in ("lightning_fabric", "matplotlib", "pydantic", "tensorboard")
):
    raise InputError("training needs more packages: pip install 'cddfuse[train]'.")

from cddfuse.recipes import RECIPES, Recipe
from cddfuse.recipes.choice import METHOD, PRESET, Choice, Request, names_in
from cddfuse.recipes.choice import preset as find_preset
from cddfuse.recipes.settings import read_settings
from cddfuse.train import WEIGHTS, Outcome, Running, batches, leading
from cddfuse.train import train as follow
from cddfuse.train.data import DataRequest, RunData
from cddfuse.train.running import claimed
from cddfuse.train.start import RECIPE, is_run, prepare

GROUPS = {
    name: Group.create_ordered(name)
    for name in ("Data", "Recipe", "Loss", "Optimizer", "Network", "Running")
}
Folders = Annotated[
    tuple[Path, ...], Parameter(consume_multiple=True, negative=(), show_default=False)
]

app = App(name="train", help="Train a network on your own pairs.", help_flags=[], version_flags=[])


@app.default
def train(*tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)]) -> int:
    """Train a network on your own pairs."""
    result = verb_for(tokens)(
        tokens, exit_on_error=False, print_error=False, result_action="return_value"
    )
    return result if isinstance(result, int) else 0


def verb_for(tokens: Sequence[str]) -> App:
    """The verb with the flags of the method and the preset that a command line chooses."""
    verb = App(name="cddfuse train", version_flags=[])
    verb.default(_verb(*_chosen(tokens)))
    return verb


def _chosen(tokens: Sequence[str]) -> tuple[str, str]:
    """The method whose settings the command line may name, and its preset."""
    flags = ("--recipe", "--preset", "--config", "--output", "-o")
    method, preset, config, output, short = (_value(tokens, flag) for flag in flags)
    stored = Path(output or short or ".") / RECIPE
    if config or ("--resume" in tokens and stored.is_file()):
        path = Path(config) if config else stored
        names = names_in(read_settings(path), path)
        method, preset = method or names["method"], preset or names["preset"]
    return method or METHOD, preset or PRESET


def _value(tokens: Sequence[str], flag: str) -> str | None:
    """What follows a flag on the command line."""
    for token, after in zip(tokens, [*tokens[1:], None], strict=True):
        if token == flag:
            return after
        if token.startswith(f"{flag}="):
            return token.partition("=")[2]
    return None


def _verb(method: str, preset_name: str) -> Callable[..., int]:
    """The verb with the flags of a method."""
    settings = _flags(find_preset(method, preset_name), preset_name)

    def train(
        first: Annotated[Path | None, Parameter(group=GROUPS["Data"])] = None,
        second: Annotated[Path | None, Parameter(group=GROUPS["Data"])] = None,
        /,
        *,
        output: Annotated[Path, Parameter(alias="-o", group=GROUPS["Data"])],
        extra_data: Annotated[Folders, Parameter(group=GROUPS["Data"])] = (),
        val: Annotated[Folders, Parameter(group=GROUPS["Data"])] = (),
        val_share: Annotated[float | None, Parameter(group=GROUPS["Data"])] = None,
        val_group: Annotated[int | None, Parameter(group=GROUPS["Data"])] = None,
        resize: Annotated[Flag, Parameter(group=GROUPS["Data"])] = False,
        range: Annotated[Words, Parameter(group=GROUPS["Data"])] = (),
        recursive: Annotated[Flag, Parameter(group=GROUPS["Data"])] = False,
        recipe: Annotated[str | None, Parameter(group=GROUPS["Recipe"])] = None,
        preset: Annotated[str | None, Parameter(group=GROUPS["Recipe"])] = None,
        config: Annotated[Path | None, Parameter(group=GROUPS["Recipe"])] = None,
        weights: Annotated[str | None, Parameter(group=GROUPS["Recipe"])] = None,
        given: Annotated[settings | None, Parameter(name="*")] = None,  # type: ignore[valid-type]
        resume: Annotated[Flag, Parameter(group=GROUPS["Running"])] = False,
        cache: Annotated[str, Parameter(group=GROUPS["Running"])] = "auto",
        quiet: Annotated[Flag, Parameter(group=GROUPS["Running"])] = False,
        running: Annotated[
            Running | None,
            Parameter(
                name="*", group=GROUPS["Running"], consume_multiple=True, negative_iterable=()
            ),
        ] = None,
    ) -> int:
        """Train a network on your own pairs. Two folders are enough.

        The output folder receives weights.safetensors (for `cddfuse fuse --weights`), the best
        weights on the validation pairs, the recipe, a log, curves, and pictures of the validation
        pairs. Ctrl-C saves; `cddfuse train -o FOLDER --resume` goes on.

        Args:
            first: Folder of visible (PET, SPECT, CT) images; or a folder that holds both kinds.
            second: Folder of infrared (MRI) images. Files are paired by name.
            output: Folder of the run.
            extra_data: More folders, each of which holds both kinds.
            val: One or two folders of validation pairs; by default a share of the pairs is held
                out.
            val_share: Share of the pairs that is held out, 0.06 by default; 0 trains on all of
                them and does not validate.
            val_group: Number of characters at the end of a name that number the images of one case
                (a patient, a video): cases are held out whole. 0 by default.
            resize: Scale second images to the size of the first where they differ.
            range: Values that become black and white, as for `cddfuse fuse`; one mapping for all
                pairs, stored with the run.
            recursive: Pair images of subfolders too.
            recipe: Method: one of {methods}. Its settings are listed here.
            preset: Preset of the method: one of {presets}; quick by default.
            config: YAML file of settings; they go over the preset, flags over both. It may also
                name the method, the preset and the weights.
            weights: Start from these instead of from scratch. They decide the network's options.
            resume: Go on with the run in the output folder. Settings that differ from the run's
                are refused; folders say where its pictures are now, and must hold the same ones.
                Starts a run where there is none.
            cache: Memory for decoded pictures, such as 2GB, in each process; automatic by default:
                a quarter of what is free.
            quiet: Print nothing but errors.
        """
        asked = Request(recipe, preset, weights, _given(given))
        data = DataRequest(
            first and expanded(first),
            second and expanded(second),
            tuple(map(expanded, extra_data)),
            tuple(map(expanded, val)),
            val_share,
            val_group,
            resize,
            recursive,
            Ranges.parse(range) if range else None,
        )
        with ExitStack() as held:
            return _run(
                expanded(output),
                asked.over(config) if config else asked,
                data,
                running or Running(),
                cache=byte_count(cache),
                resume=resume,
                quiet=quiet,
                held=held,
            )

    presets = ", ".join(RECIPES[method])
    train.__doc__ = (train.__doc__ or "").format(methods=", ".join(RECIPES), presets=presets)
    return train


def _flags(recipe: Recipe, preset: str) -> type:
    """A dataclass with every setting of a method, none of them set."""
    kind = type(recipe)
    texts = {text.arg_name: text.description for base in kind.__mro__[:-1] for text in _texts(base)}
    members = []
    for each in fields(recipe):
        rows = get_origin(each.type) is get_origin(Mapping[str, float])
        value = getattr(recipe, each.name)
        shown = " ".join(map(str, value)) if isinstance(value, tuple) else value
        text = texts.get(each.name) or ""  # read from the source, which may be closed to the user
        parameter = Parameter(
            help=f"{text} {_rows(recipe) if rows else f'[{preset}: {shown}]'}",
            group=GROUPS[recipe.group(each.name)],
            show_default=False,
            consume_multiple=True,
            negative_iterable=(),
        )
        value_type = tuple[str, ...] if rows else each.type
        members.append((each.name, Annotated[value_type | None, parameter], None))  # type: ignore[operator]
    return make_dataclass("Settings", members, namespace={"__module__": __name__})


def _texts(kind: type) -> Any:
    return parse_from_object(kind).params if issubclass(kind, Recipe) else []


def _rows(recipe: Recipe) -> str:
    own = {each.name for each in fields(recipe)}
    rows = [f"{name} ({row.source})" for name, row in LOSSES.items() if name not in own]
    return f"Known: {'; '.join(rows)}."


def _given(settings: Any) -> dict[str, Any]:
    """The flags that were set."""
    given = {} if settings is None else vars(settings)
    given = {name: value for name, value in given.items() if value is not None}
    if "loss" in given:
        given["loss"] = dict(_row(text) for text in given["loss"])
    return given


def _row(text: str) -> tuple[str, float]:
    name, _, weight = text.partition("=")
    try:
        return name, float(weight)
    except ValueError:
        raise InputError(f"{text} is no loss with its weight, such as ssim=9.", "loss") from None


def _run(
    output: Path,
    request: Request,
    data: DataRequest,
    running: Running,
    *,
    cache: int,
    resume: bool,
    quiet: bool,
    held: ExitStack,
) -> int:
    fabric = running.fabric()
    console = stderr(quiet or not fabric.is_global_zero)

    def say(what: str | InputError) -> None:
        console.print(f"left out: {sentence(what)}" if isinstance(what, InputError) else what)

    if running.note:
        console.print(running.note)
    reader = Reader(cache // running.devices if cache else None)
    fresh = not is_run(output)

    def claim() -> None:
        held.callback(claimed(output).release)

    def resolve() -> tuple[Choice, RunData]:
        with progress(console) as bar:
            task = bar.add_task("reading pairs", total=None, rate="")
            return prepare(
                output,
                request,
                data,
                reader,
                resume=resume,
                say=say,
                claim=claim,
                advance=partial(bar.advance, task),
            )

    try:
        choice, pairs = leading(fabric, resolve)
    except InputError:
        if fabric.is_global_zero:
            raise
        return 0  # the first process says it
    reader.resize, reader.ranges = pairs.resize, pairs.ranges
    train, val = (pairs.folder(records, reader) for records in (pairs.train, pairs.val))
    console.print(f"{len(train)} pairs to train on, {len(val)} to validate; run: {output}")
    outcome = follow(
        choice.recipe,
        batches(choice.recipe, train, pairs.kept),
        output,
        model=choice.trained_model() if fresh else None,
        validation=val,
        running=running,
        fabric=fabric,
        resume=resume,
        facts=_facts(output) if fabric.is_global_zero else {},
        claimed=True,
        quiet=console.quiet,
    )
    return _report(outcome, console)


def _facts(folder: Path) -> dict[str, str]:
    return {"cddfuse.recipe": (folder / RECIPE).read_text(encoding="utf-8")}


def _report(outcome: Outcome, console: Console) -> int:
    if outcome.skipped:
        console.print(f"{outcome.skipped} steps were left out: their loss was not a number")
    if not outcome.finished:
        console.print(
            f"stopped at step {outcome.step} of {outcome.total}; to resume: "
            f"cddfuse train -o {outcome.folder} --resume"
        )
        return 130
    console.print(
        f"trained {outcome.total} steps; curves and pictures in {outcome.folder}; to use it: "
        f"cddfuse fuse FIRST SECOND -o OUT --model {outcome.model.card.name} "
        f"--weights {outcome.folder / WEIGHTS}"
    )
    return 0
