"""The verb `evaluate`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cddfuse.cli.common import (
    Flag,
    LimitFlags,
    NetworkFlags,
    Words,
    print_table,
    progress,
    stderr,
)
from cddfuse.cli.messages import left_out, sentence
from cddfuse.errors import InputError
from cddfuse.evaluate import Scores, report
from cddfuse.evaluate import evaluate as score_pairs
from cddfuse.io import Ranges, expanded
from cddfuse.io.formats import Reading, open_source
from cddfuse.metrics import PAPER_EIGHT, chosen
from cddfuse.models import FusionModel
from cddfuse.models.exported import is_exported
from cddfuse.runtime import Limits


def evaluate(
    fused: Path | None = None,
    /,
    *,
    first: Path,
    second: Path | None = None,
    network: NetworkFlags = NetworkFlags(),  # noqa: B008
    resources: LimitFlags = LimitFlags(),  # noqa: B008
    metrics: Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative=())] = (
        PAPER_EIGHT
    ),
    profile: str = "paper",
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    resize: Flag = False,
    crop: Flag = False,
    limit: int | None = None,
    recursive: Flag = False,
    range: Words = (),
    overwrite: Flag = False,
    json: Flag = False,
    quiet: Flag = False,
) -> int:
    """Score the fused images of any tool, or fuse with a network and score, without any files.

    The tables also hold the baselines: each source as it is, the mean and the maximum of both. A
    star marks where one of them is better than the method. Networks are scored by the protocol of
    the published tables: grey sources of 8 bits, each result stretched to the full range and
    rounded; a second table leaves out the stretch.

    Args:
        fused: The folder of a tool's results, named like their sources, with or without an ending
            such as _fused; or one image, for two source images.
        first: The folder of visible (PET, SPECT, CT) images, or one image; or a folder with both
            kinds.
        second: The folder of infrared (MRI) images, or one image. Files are paired by name.
        metrics: Names of metrics.
        profile: Named implementation variants of the metrics: paper, matlab, spreadsheet, vifb,
            ivif_zoo, corrected.
        output: A folder for per_image.csv, summary.md, summary.tex and summary.json.
        resize: Resize the second image to the size of the first, and results to the size of their
            sources, where they differ.
        crop: Crop the sources centrally to the size of the result, where it is smaller.
        limit: Stop after so many pairs.
        recursive: Pair images of subfolders too.
        range: Values of the sources that become black and white, as for fuse.
        overwrite: Replace a report that exists.
        json: Print the summary as JSON, and the tables on stderr.
        quiet: Print nothing but errors.
    """
    chosen(metrics, profile)
    fused, output = fused and expanded(fused), output and expanded(output)
    if output:
        report.require_place(output, overwrite=overwrite)
    limits = resources.limits()
    if fused and (network != NetworkFlags(device=network.device) or limits != Limits()):
        raise InputError("score a folder of results or a network: leave out one of the two.")
    named = network.model or (network.weights is not None and is_exported(network.weights))
    if not fused and not named:
        raise InputError("name a folder of fused images, or a network: --model cddfuse.")
    results = [folder for folder in (fused, output) if folder]
    reading = Reading(
        resize=resize, recursive=recursive, leave_out=results, ranges=Ranges.parse(range)
    )
    source = open_source(expanded(first), second and expanded(second), reading)
    method: FusionModel | Path | None = fused
    if named:
        method = network.load()
    assert method is not None
    console = stderr(quiet)
    for note in source.notes:
        console.print(note)
    with progress(console) as bar:
        shown = bar.add_task("evaluate", total=None, rate="")

        def after(name: str, total: int | None) -> None:
            speed = bar.tasks[0].speed
            rate = f"{speed:.2f} pairs/s" if speed else ""
            bar.update(shown, advance=1, total=total, description=name, rate=rate)

        scores = score_pairs(
            method,
            source,
            metrics,
            profile,
            resize=resize,
            crop=crop,
            limit=limit,
            limits=limits,
            after=after,
        )
    unsaved = _save(scores, output, overwrite) if output else None
    _print(scores, console if json else Console(highlight=False, quiet=quiet))
    problems = stderr(quiet=False)
    for line in report.left_out(scores, sentence, left_out):
        problems.print(line)
    if json:
        print(report.as_json(scores))
    if unsaved:
        problems.print(f"cddfuse: {sentence(unsaved)}")
    elif output:
        console.print(f"report: {output}")
    return 1 if unsaved or report.left_out(scores) else 0


def _save(scores: Scores, folder: Path, overwrite: bool) -> InputError | None:
    """Write the report; an error is returned, for the scores are still to be printed."""
    try:
        report.write_report(scores, folder, overwrite=overwrite)
    except InputError as error:
        return error
    return None


def _print(scores: Scores, console: Console) -> None:
    for name in scores.tables:
        console.print(Text(f"{report.title(scores, name)}:"), soft_wrap=True)
        table = Table()
        for heading in report.HEADINGS:
            table.add_column(heading, justify="left" if heading == "metric" else "right")
        for line in report.lines(scores, name):
            table.add_row(*map(Text, line))
        print_table(console, table)
    for note in (report.profile(scores), *report.legend(scores), *report.notes(scores)):
        console.print(Text(note), soft_wrap=True)
