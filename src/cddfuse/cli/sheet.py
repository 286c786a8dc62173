"""The verb `sheet`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from cddfuse.cli.common import Flag, LimitFlags, Words, progress, stderr
from cddfuse.errors import InputError
from cddfuse.explain.comparison import (
    Columns,
    Look,
    chosen_scenes,
    comparison,
    outputs,
    write_sheet,
)
from cddfuse.io import Ranges, expanded
from cddfuse.io.formats import Reading, open_source
from cddfuse.io.regions import parse_regions
from cddfuse.models.load import load_network


def sheet(
    first: Path,
    second: Path | None = None,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    models: Words = (),
    fused: Words = (),
    scenes: Words = (),
    crops: Words = (),
    limit: int = 6,
    width: int = Look.width,
    no_sources: Flag = False,
    task: Literal["ivf", "mif"] | None = None,
    device: str = "auto",
    resources: LimitFlags = LimitFlags(),  # noqa: B008
    grey: Flag = False,
    stretch: Flag = False,
    resize: Flag = False,
    recursive: Flag = False,
    range: Words = (),
    overwrite: Flag = False,
    quiet: Flag = False,
) -> int:
    """Draw a comparison for a paper: rows of scenes, columns of methods, enlarged regions.

    Columns: both sources, results of other tools (--fused), networks (--models). Names of scenes
    are those of the pairs.

    Args:
        first: Visible (PET, SPECT, CT) image or folder; or a folder that holds both sides.
        second: Infrared (MRI) image or folder. Files of two folders are paired by name.
        output: The figure, ending in .png or .pdf; without an ending, both.
        models: Networks, NAME or NAME=WEIGHTS, such as cddfuse or didfuse=authors.
        fused: Results of other tools, HEADING=FOLDER; named like their sources, with or without an
            ending such as _fused.
        scenes: Names of the pairs to show, in this order; by default those with crops, or some.
        crops: Regions to enlarge, NAME:X,Y,W,H: name of the pair, left, top, width and height in
            pixels.
        limit: Show so many pairs, evenly spaced, where no scenes are named.
        width: Width of a column in pixels.
        no_sources: Leave out the columns of the sources.
        task: Choose weights by task: ivf or mif.
        device: cpu, cuda, cuda:1 or mps; auto is an accelerator if there is one.
        grey: Drop the colour of what networks give.
        stretch: Stretch what networks give to the full range, as in published tables.
        resize: Resize the second image to the size of the first where they differ.
        recursive: Include subfolders.
        range: Values that become black and white, as for fuse.
        overwrite: Replace a figure that exists.
        quiet: Print nothing but errors.
    """
    if limit < 1:
        raise InputError(f"{limit} scenes cannot be shown: 1 or more.", setting="limit")
    paths, regions = outputs(expanded(output), overwrite=overwrite), parse_regions(crops)
    look = Look(width, grey, stretch, resources.limits())
    named = [_named(word) for word in fused]
    _require_different([*(name for name, _ in named), *(word.partition("=")[0] for word in models)])
    folders = {name: expanded(Path(path)) for name, path in named}
    reading = Reading(resize, recursive, list(folders.values()), Ranges.parse(range))
    source = open_source(expanded(first), second and expanded(second), reading)
    entries = chosen_scenes(source, scenes, regions, limit)
    networks = {
        name: load_network(name, task, weights or None, device=device)
        for name, _, weights in (word.partition("=") for word in models)
    }
    console = stderr(quiet)
    for note in source.notes:
        console.print(note)
    if source.length != len(entries):
        console.print(f"showing {len(entries)} of {source.length} pairs")
    with progress(console) as bar:
        shown = bar.add_task("sheet", total=len(entries), rate="")

        def after(name: str) -> None:
            bar.update(shown, advance=1, description=name)

        columns = Columns(not no_sources, folders, networks)
        figure = comparison(source, entries, columns, regions, look, after=after)
    for path in paths:
        write_sheet(path, figure)
        console.print(f"sheet: {path}")
    return 0


def _named(word: str) -> tuple[str, str]:
    name, _, path = word.partition("=")
    if not name or not path:
        raise InputError(f"{word} has no heading: write HEADING=FOLDER.", setting="fused")
    return name, path


def _require_different(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two columns are called {name}: rename one of them.", "fused")
