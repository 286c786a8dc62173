"""The verb `explain`."""

import json as json_format
import os
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from cddfuse.cli.common import Flag, NetworkFlags, Words, exit_code, kept, progress, stderr
from cddfuse.cli.messages import left_out, sentence
from cddfuse.explain import Settings, require_decomposing
from cddfuse.explain.files import explain_all, read_record, require_place, write_summary
from cddfuse.io import Ranges, expanded
from cddfuse.io.formats import Reading, open_source
from cddfuse.io.sheet import require_matplotlib
from cddfuse.io.source import Loaded, Source
from cddfuse.pipeline import Summary


def explain(
    first: Path,
    second: Path | None = None,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    network: NetworkFlags = NetworkFlags(),  # noqa: B008
    size: int = Settings.size,
    directions: int = Settings.directions,
    resize: Flag = False,
    recursive: Flag = False,
    range: Words = (),
    overwrite: Flag = False,
    json: Flag = False,
    quiet: Flag = False,
) -> int:
    """Show how a network decomposes a pair: features, correlation, contributions, shares.

    For networks that decompose images: cddfuse, didfuse, defusion, rfnnest, laplacian, dwt, guided.
    Each pair gets a folder with a sheet, single maps (PNG, and values.npz unscaled), a histogram
    and explanation.json; folders of pairs get summary.json, pairs.csv and a histogram over all
    pairs too. Explanations that exist are kept, so an interrupted run resumes.

    Args:
        first: Visible (PET, SPECT, CT) image or folder; or a folder that holds both sides.
        second: Infrared (MRI) image or folder. Files of two folders are paired by name.
        output: The folder that the folders of the pairs are written to.
        size: Longest side in pixels; larger images are reduced to it. Time and memory grow with its
            square.
        directions: Random directions by which the share of each source is estimated, each of which
            takes six to seven times as long as fusing; 0 leaves the shares out.
        resize: Resize the second image to the size of the first where they differ.
        recursive: Include subfolders.
        range: Values that become black and white, as for fuse.
        overwrite: Replace explanations that exist.
        json: Print the numbers as JSON.
        quiet: Print nothing but errors.
    """
    first, second, output = expanded(first), second and expanded(second), expanded(output)
    settings = Settings(size, directions)
    require_matplotlib()
    reading = Reading(resize, recursive, (output,), Ranges.parse(range))
    source = open_source(first, second, reading)
    many = os.path.isdir(first)
    if many:
        require_place(output, overwrite=overwrite)
    model = network.load()
    require_decomposing(model)
    console = stderr(quiet)
    for note in source.notes:
        console.print(note)
    with progress(console) as bar:
        shown = bar.add_task("explain", total=source.length, rate="")

        def after(name: str) -> None:
            speed = bar.tasks[0].speed
            rate = f"{60 * speed:.1f} pairs/min" if speed else ""
            bar.update(shown, advance=1, description=name, rate=rate)

        summary = explain_all(model, source, output, settings, overwrite=overwrite, after=after)
    _report(summary, source, output, console)
    if not many:
        for reason in summary.failed.values():
            raise reason
    names = [entry.name for entry in source if entry.name not in summary.failed]
    if names and many:
        numbers: Any = write_summary(output, names)
        console.print(f"summary of {len(names)} pairs: {output}")
    else:
        numbers = [read_record(output / name) for name in names]
    if json:
        print(json_format.dumps(numbers, indent=2))
    return exit_code(summary, source)


def _report(summary: Summary, source: Source[Loaded], output: Path, console: Console) -> None:
    for name in summary.done:
        console.print(f"explained: {output / name / 'sheet.png'}")
    if summary.kept:
        console.print(kept(len(summary.kept), "explanation"))
    problems = stderr(quiet=False)
    for skipped in source.skipped:
        problems.print(left_out(skipped))
    if source.length != 1:
        for name, reason in summary.failed.items():
            problems.print(f"failed: {name}: {sentence(reason)}")
