"""The verb `evaluate`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cddfuse.cli.common import Flag, LimitFlags, NetworkFlags, progress, stderr
from cddfuse.errors import InputError
from cddfuse.evaluate import Scores, report
from cddfuse.evaluate import evaluate as score_pairs
from cddfuse.io import pair_folders
from cddfuse.metrics import PAPER_EIGHT, chosen
from cddfuse.models import FusionModel
from cddfuse.models.exported import is_exported
from cddfuse.runtime import Limits

_WIDE = 160  # columns of a table that goes to a file


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
    limit: int | None = None,
    overwrite: Flag = False,
    json: Flag = False,
    quiet: Flag = False,
) -> int:
    """Score the fused images of any tool; or fuse with a network and score, without any files.

    Beside the method stand those it has to beat: each source as it is, the mean and the maximum of
    both. A star marks where one of them is better. Networks are scored by the protocol of the
    published tables: grey sources of 8 bits, each result stretched to the full range and rounded;
    a second table leaves out the stretch.

    Args:
        fused: The folder of a tool's results, named like their sources, with or without an ending
            such as _fused.
        first: The folder of visible (PET, SPECT, CT) images; or a folder with both kinds.
        second: The folder of infrared (MRI) images. Files are paired by name.
        metrics: Names of metrics.
        profile: The dialect of the metrics: paper, matlab, spreadsheet, vifb, ivif_zoo,
            corrected.
        output: A folder for per_image.csv, summary.md, summary.tex and summary.json.
        limit: Stop after so many pairs.
        overwrite: Replace a report that exists.
        json: Print the summary as JSON, and the tables on stderr.
        quiet: Print nothing but errors.
    """
    chosen(metrics, profile)
    if output:
        report.require_place(output, overwrite=overwrite)
    limits = resources.limits()
    if fused and (network != NetworkFlags(device=network.device) or limits != Limits()):
        raise InputError("score a folder of results or a network: leave out one of the two.")
    named = network.model or (network.weights is not None and is_exported(network.weights))
    if not fused and not named:
        raise InputError("name a folder of fused images, or a network: --model cddfuse.")
    pairs, unpaired = pair_folders(first, second)
    method: FusionModel | Path | None = fused
    if named:
        method = network.load()
    assert method is not None
    console = stderr(quiet)
    with progress(console) as bar:
        shown = bar.add_task("evaluate", total=None, rate="")

        def after(name: str, total: int) -> None:
            speed = bar.tasks[0].speed
            rate = f"{speed:.2f} pairs/s" if speed else ""
            bar.update(shown, advance=1, total=total, description=name, rate=rate)

        scores = score_pairs(
            method, pairs, metrics, profile, limit=limit, limits=limits, after=after
        )
    scores.unmatched[:0] = unpaired
    _print(scores, console if json else Console(highlight=False, quiet=quiet))
    problems = stderr(quiet=False)
    for line in report.left_out(scores):
        problems.print(line)
    if json:
        print(report.as_json(scores))
    if output:
        report.write_report(scores, output, overwrite=overwrite)
        console.print(f"report: {output}")
    return 1 if report.left_out(scores) else 0


def _print(scores: Scores, console: Console) -> None:
    if not console.is_terminal:
        console.width = max(console.width, _WIDE)
    for name in scores.tables:
        console.print(Text(f"{report.title(scores, name)}:"), soft_wrap=True)
        table = Table()
        for heading in report.HEADINGS:
            table.add_column(heading, justify="left" if heading == "metric" else "right")
        for line in report.lines(scores, name):
            table.add_row(*map(Text, line))
        console.print(table)
    for note in (report.profile(scores), *report.legend(scores)):
        console.print(Text(note), soft_wrap=True)
