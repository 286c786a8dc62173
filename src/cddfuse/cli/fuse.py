"""The verb `fuse`."""

import json as json_format
import os
import resource
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

from cddfuse.cli.common import Flag, LimitFlags, NetworkFlags, progress, stderr
from cddfuse.errors import InputError
from cddfuse.files import Job, Options, Summary, fuse_files
from cddfuse.io import pair_folders
from cddfuse.models import FusionModel
from cddfuse.runtime import Limits


def fuse(
    first: Path,
    second: Path | None = None,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    network: NetworkFlags = NetworkFlags(),  # noqa: B008
    resources: LimitFlags = LimitFlags(),  # noqa: B008
    grey: Flag = False,
    stretch: Flag = False,
    resize: Flag = False,
    overwrite: Flag = False,
    suffix: str = "",
    format: Literal["png", "jpg", "tif", "bmp", "webp"] = "png",
    bits: Literal[8, 16] | None = None,
    json: Flag = False,
    quiet: Flag = False,
) -> int:
    """Fuse two images, or the pairs of two folders, or of one folder that holds both.

    Results that are in the output folder already are kept, so a stopped run goes on where it was.

    Args:
        first: The visible (PET, SPECT, CT) image or folder, whose colour is kept (or that of the
            second, where only that has any); or a folder with both kinds, in subfolders (vi and ir)
            or in names (01_vi.png and 01_ir.png).
        second: The infrared (MRI) image or folder. Files of two folders are paired by name.
        output: Where the fused image goes, a file or a folder; for folders, a folder.
        grey: Leave the colour out.
        stretch: Stretch each result to the full range, the protocol of published tables.
        resize: Scale the second image to the size of the first where they differ.
        overwrite: Replace results that exist.
        suffix: Added to the names of the results, before the dot.
        format: Of the results of folders.
        bits: Of the results; as many as the sources have by default.
        json: Print a summary as JSON.
        quiet: Print nothing but errors.
    """
    jobs, unpaired = _jobs(first, second, output, suffix, format)
    model = network.load()
    options = Options(grey, stretch, resize, overwrite, bits, resources.limits())
    console = stderr(quiet)
    if not os.path.isdir(first):
        return _fuse_one(model, jobs[0], options, console, json)
    with progress(console) as bar:
        shown = bar.add_task("fuse", total=len(jobs), rate="")

        def after(job: Job) -> None:
            speed = bar.tasks[0].speed
            rate = f"{speed:.2f} pairs/s" if speed else ""
            bar.update(shown, advance=1, description=job.name, rate=rate)

        try:
            summary = fuse_files(model, jobs, options, after=after)
        except KeyboardInterrupt:
            again = "starts again" if overwrite else "does the rest"
            console.print(f"stopped: what is done is in {output}; the same command {again}")
            return 130
    _report(summary, unpaired, output, console)
    if json:
        print(_as_json(summary, unpaired))
    return 1 if summary.failed or unpaired else 0


def _fuse_one(
    network: FusionModel, job: Job, options: Options, console: Console, json: bool
) -> int:
    with progress(console) as bar:
        shown = bar.add_task(job.name, total=100, rate="%")

        def after_part(share: float) -> None:
            speed = bar.tasks[0].speed
            rate = f"%, {60 * speed:.0f} %/min" if speed else "%"
            bar.update(shown, completed=int(100 * share), rate=rate)

        limits = replace(options.limits or Limits(), progress=after_part)
        summary = fuse_files(network, [job], replace(options, limits=limits))
    if summary.kept:
        raise InputError(
            f"{job.output} exists already: choose another name, or --overwrite to replace it."
        )
    for reason in summary.failed.values():
        raise InputError(reason)
    console.print(f"fused {job.first} and {job.second} in {summary.seconds:.1f} s: {job.output}")
    if json:
        print(_as_json(summary, []))
    return 0


def _jobs(
    first: Path, second: Path | None, output: Path, suffix: str, form: str
) -> tuple[list[Job], list[Path]]:
    """What there is to do, and the files that have no partner."""
    if os.path.isdir(first):
        if os.path.isfile(output):
            raise InputError(f"{output} is a file: give a folder for the results of folders.")
        pairs, unpaired = pair_folders(first, second)
        jobs = [Job(*pair, output / f"{pair.name}{suffix}.{form}") for pair in pairs]
        return jobs, unpaired
    if not os.path.exists(first):
        raise InputError(f"there is no file or folder {first}: check the name.")
    if second is None:
        raise InputError(f"{first} is one image: give the second one too.")
    if os.path.isdir(second):
        raise InputError(f"{first} is a file and {second} a folder: give two of one kind.")
    if os.path.isdir(output) or not output.suffix:
        output = output / f"{first.stem}{suffix}.{form}"
    elif suffix:
        output = output.with_stem(output.stem + suffix)
    return [Job(first.stem, first, second, output)], []


def _report(summary: Summary, unpaired: list[Path], output: Path, console: Console) -> None:
    done = len(summary.done)
    pairs = "1 pair" if done == 1 else f"{done} pairs"
    each = f", {summary.seconds / done:.1f} s each" if done else ""
    memory = f"peak memory {_peak_memory() / 1e9:.1f} GB"
    console.print(f"fused {pairs} in {summary.seconds:.0f} s{each}, {memory}: {output}")
    if summary.kept:
        console.print(f"kept {len(summary.kept)} results that exist (--overwrite redoes them)")
    problems = stderr(quiet=False)
    for path in unpaired:
        problems.print(f"no partner: {path}")
    for name, reason in summary.failed.items():
        problems.print(f"failed: {name}: {reason}")


def _as_json(summary: Summary, unpaired: list[Path]) -> str:
    return json_format.dumps(
        {
            "done": [str(path) for path in summary.done],
            "kept": [str(path) for path in summary.kept],
            "failed": summary.failed,
            "unpaired": [str(path) for path in unpaired],
            "seconds": round(summary.seconds, 3),
            "peak_memory_bytes": _peak_memory(),
        },
        indent=2,
    )


def _peak_memory() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
