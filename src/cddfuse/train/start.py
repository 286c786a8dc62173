"""Begin a run in a folder, or find out how to resume the one that is there."""

from collections.abc import Callable
from pathlib import Path

from cddfuse.datasets.base import Reader
from cddfuse.errors import InputError
from cddfuse.io.files import remove_abandoned
from cddfuse.recipes.choice import Choice, Request, check_same, started
from cddfuse.train.data import DataRequest, RunData, Say, chosen, require_folders, resumed
from cddfuse.train.loop import SHEETS, STATE

RECIPE = "recipe.yaml"


def prepare(
    folder: Path,
    request: Request,
    data: DataRequest,
    reader: Reader,
    *,
    resume: bool,
    say: Say,
    claim: Callable[[], object] = lambda: None,
    advance: Callable[[], None] = lambda: None,
) -> tuple[Choice, RunData]:
    """Resolve everything that a run needs to know, and note it in its folder.

    Args:
        folder: of the run.
        request: the recipe that was asked for.
        data: the pairs that were asked for.
        reader: decodes pairs.
        resume: whether a run in the folder goes on; then what was asked for must not differ.
        say: told what is left out.
        claim: keeps other runs out of the folder from here on (`running.claimed`). Called once it
            is known that the run can begin, before anything is written.
        advance: called after every pair that is read.
    """
    require_folders(data)
    for place in (folder, folder / SHEETS):
        remove_abandoned(place)
    if is_run(folder):
        claim()
        if not resume:
            raise InputError(
                f"{folder} holds a run already: resume it, or choose another folder.",
                setting="resume",
            )
        choice = Choice.read(folder / RECIPE)
        check_same(request, choice)
        return choice, resumed(folder, data, choice.recipe, reader, say)
    if resume and data.first is None:
        raise InputError(
            f"{folder} holds no run to resume: check its name, or name the folders to train on.",
            setting="output",
        )
    choice = started(request)
    pairs = chosen(data, choice.recipe, reader, say, advance)
    claim()
    if is_run(folder):  # since pairs were read, which takes a while
        raise InputError(f"another run began in {folder} meanwhile: resume it, or choose another.")
    choice.write(folder / RECIPE)
    pairs.write(folder)
    return choice, pairs


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run that has begun."""
    return (folder / STATE).is_file()
