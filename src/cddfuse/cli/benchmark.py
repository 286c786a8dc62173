"""The verb `benchmark`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cddfuse.cli.common import Flag, LimitFlags, Words, progress, report_end, stderr
from cddfuse.errors import InputError
from cddfuse.io import expanded


@Parameter(name="*", group="Report")
@dataclass(frozen=True)
class ReportFlags:
    """What the report shows."""

    against: str | None = None
    """The method that all others are tested against; by default the first."""

    pictures: int = 8
    """Pairs of each data set with pictures in the page."""

    crops: Words = ()
    """Regions to enlarge, DATA/IMAGE=LEFT,TOP,WIDTH,HEIGHT; by default those of warm targets."""

    downstream: Annotated[
        tuple[Path, ...], Parameter(consume_multiple=True, negative=(), show_default=False)
    ] = ()
    """Folders of runs of `cddfuse downstream`, whose tables are in the page too."""


def benchmark(
    file: Path | None = None,
    /,
    *,
    models: Words = (),
    data: Words = (),
    fused: Words = (),
    output: Annotated[Path, Parameter(alias="-o")],
    metrics: Words = (),
    profile: str = "paper",
    limit: int | None = None,
    resize: Flag = False,
    recursive: Flag = False,
    device: str = "auto",
    resources: LimitFlags = LimitFlags(),  # noqa: B008
    jobs: int = 1,
    turns: int = 0,
    report: ReportFlags = ReportFlags(),
    json: Flag = False,
    quiet: Flag = False,
) -> int:
    """Score several methods on several data sets, and write the tables and one report.

    The baselines first, second, mean and max are always scored too. Run it again after an
    interruption or a change: what is finished is kept, and only what differs is computed. Results
    that lack pairs, and networks that were trained on the pairs, are refused.

    Args:
        file: A YAML file with the keys models, data and fused.
        models: Networks and methods, NAME or NAME=WEIGHTS; without weights, those for the task of
            each data set.
        data: Data sets, NAME=PATH or NAME=FIRST,SECOND. Names of `cddfuse data list` bring their
            task and published figures.
        fused: Results of other tools, NAME=PATH; for several data sets, PATH has a folder for each.
        output: A folder for the report, and for what is kept.
        metrics: Names of metrics, NAME or NAME@PROFILE; by default the eight of the published
            tables, and target contrast.
        profile: Named implementation variants of the metrics, as for evaluate.
        limit: Stop after so many pairs of each data set.
        resize: Resize the second image to the size of the first, and results to their sources.
        recursive: Pair images of subfolders too.
        device: cpu, cuda, cuda:1 or mps; auto is an accelerator if there is one.
        jobs: Methods at a time, each in a process of its own. Images are scored in parallel anyway.
        turns: Measure the cost of each network (multiply-adds, seconds, memory) with the default
            tiles, precision and kernels so many times; 0 leaves it out.
        json: Print benchmark.json instead of the tables.
        quiet: Print nothing but errors.
    """
    from cddfuse.benchmark.report import require_extra

    require_extra()
    from cddfuse.benchmark.cells import Settings
    from cddfuse.benchmark.downstream import read_tables
    from cddfuse.benchmark.markdown import as_markdown
    from cddfuse.benchmark.pictures import parse_crops, require_regions
    from cddfuse.benchmark.plan import columns, parse
    from cddfuse.benchmark.report import write_report
    from cddfuse.benchmark.suite import Progress, run_plan
    from cddfuse.evaluate import BASELINES
    from cddfuse.evaluate.report import require_folder

    _require_counts(limit, jobs, turns, report.pictures)
    downstream = tuple(map(expanded, report.downstream))
    read_tables(downstream)  # a slip shows before the work
    plan, regions = parse(models, data, fused, file and expanded(file)), parse_crops(report.crops)
    for place in plan.data:
        columns(metrics, profile, place.task)
    labels = [*(method.label for method in plan.methods), *BASELINES]
    if report.against is not None and report.against not in labels:
        known = ", ".join(labels)
        raise InputError(f"there is no method {report.against} here: known are {known}.", "against")
    settings = Settings(
        tuple(metrics), profile, limit, resize, recursive, device, resources.limits()
    )
    require_regions(plan, settings, regions)
    output, console = expanded(output), stderr(quiet)
    require_folder(output)
    with progress(console) as bar:
        shown = bar.add_task("benchmark", total=None, rate="")

        def after(state: Progress) -> None:
            speed = bar.tasks[0].speed
            rate = f"{speed:.2f} pairs/s" if speed else ""
            bar.update(
                shown, completed=state.done, total=state.total, description=state.doing, rate=rate
            )

        results = run_plan(plan, settings, output, jobs=jobs, turns=turns, after=after)
    if results.reused:
        console.print(
            f"kept from an earlier run: {results.reused} results; new: {results.computed}"
        )
    if not results.records:
        raise InputError(f"nothing could be scored: {results.failures[0].reason}")
    written = write_report(
        results,
        output,
        reference=report.against,
        shown=report.pictures,
        crops=regions,
        downstream=downstream,
    )
    if json:
        print((output / "benchmark.json").read_text(encoding="utf-8"))
    elif not quiet:
        print(as_markdown(results))
    failed = (f"{each.data}, {each.method}: {each.reason}" for each in results.failures)
    return report_end(console, written, failed)


def _require_counts(limit: int | None, jobs: int, turns: int, pictures: int) -> None:
    for name, value, least in (
        ("limit", 1 if limit is None else limit, 1),
        ("jobs", jobs, 1),
        ("turns", turns, 0),
        ("pictures", pictures, 0),
    ):
        if value < least:
            raise InputError(f"{name} is {value}: use {least} or more.", setting=name)
