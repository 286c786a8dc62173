"""Fuse many files: the next pair is read and the last one written while the network works."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from torch import Tensor

from cddfuse.errors import InputError, trouble
from cddfuse.fuse import fuse
from cddfuse.io import bit_depth, output_format, read_pair, write_image
from cddfuse.models.base import FusionModel
from cddfuse.pair import ImagePair
from cddfuse.runtime import Limits

_AHEAD = 2  # pairs read, and images waiting to be written, at a time


class Job(NamedTuple):
    """Two files to fuse, and where the result goes."""

    name: str
    first: Path
    second: Path
    output: Path


@dataclass(frozen=True)
class Options:
    """How to fuse files."""

    grey: bool = False
    """Leave the colour out."""

    stretch: bool = False
    """Bring each result to the full range, as published tables have it."""

    resize: bool = False
    """Bring the second image to the size of the first."""

    overwrite: bool = False
    """Replace files that exist."""

    bits: Literal[8, 16] | None = None
    """Per channel of the result; None takes 16 where a source has 16 and the format holds them."""

    limits: Limits | None = None
    """Tiles, memory and precision; None chooses."""


@dataclass
class Summary:
    """What became of the jobs."""

    done: list[Path] = field(default_factory=list)
    kept: list[Path] = field(default_factory=list)
    """Results that were there already."""

    failed: dict[str, str] = field(default_factory=dict)
    """Reason by name of the job."""

    seconds: float = 0.0


def fuse_files(
    model: FusionModel,
    jobs: Sequence[Job],
    options: Options | None = None,
    *,
    after: Callable[[Job], None] = lambda job: None,
) -> Summary:
    """Fuse pairs of files one after another. A bad one is noted, the others are done.

    What would go wrong with every pair, such as a folder that may not be written to, is an
    `InputError` before the first.

    Args:
        model: in evaluation mode, on its device.
        jobs: what to do. Results that exist are kept, so a run that was stopped goes on.
        options: how.
        after: called when a job is out of the way, for progress bars.
    """
    options = options or Options()
    _check(jobs, options)
    summary, started = Summary(), time.monotonic()
    todo = []
    for job in jobs:
        if os.path.isfile(job.output) and not options.overwrite:
            summary.kept.append(job.output)
            after(job)
        else:
            todo.append(job)
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        writing: list[tuple[Job, Future[None]]] = []
        for job, pair in _read_ahead(reader, todo, options):
            try:
                image = _fused(model, job, pair.result(), options)
                writing.append((job, writer.submit(_write, job, image, options)))
            except InputError as error:
                summary.failed[job.name] = str(error)
                after(job)
            while len(writing) >= _AHEAD:
                _settle(*writing.pop(0), summary, after)
        for job, written in writing:
            _settle(job, written, summary, after)
    summary.seconds = time.monotonic() - started
    return summary


def _check(jobs: Sequence[Job], options: Options) -> None:
    sources = {source.resolve() for job in jobs for source in (job.first, job.second)}
    for job in jobs:
        if job.output.resolve() in sources:
            text = f"{job.output} is a source: choose another folder with -o, or a --suffix."
            raise InputError(text)
        output_format(job.output, options.bits or 8)
    for folder in {job.output.parent for job in jobs}:
        place = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
        if not os.path.isdir(place) or not os.access(place, os.W_OK):
            why = "may not be written to" if os.path.isdir(place) else "is no folder"
            text = f"cannot write to {folder}, for {place} {why}: choose another folder with -o."
            raise InputError(text)


def _read_ahead(
    reader: ThreadPoolExecutor, jobs: Sequence[Job], options: Options
) -> Iterator[tuple[Job, Future[ImagePair]]]:
    reading: list[tuple[Job, Future[ImagePair]]] = []
    for job in jobs:
        reading.append((job, reader.submit(_read, job, options)))
        if len(reading) > _AHEAD:
            yield reading.pop(0)
    yield from reading


def _read(job: Job, options: Options) -> ImagePair:
    # Nobody can list all that decoders raise when they meet a bad file.
    with trouble(f"read {job.first} and {job.second}", Exception):
        return read_pair(job.first, job.second, name=job.name, resize=options.resize)


def _fused(model: FusionModel, job: Job, pair: ImagePair, options: Options) -> Tensor:
    with trouble(f"fuse {job.first} and {job.second}"):
        return fuse(model, pair, grey=options.grey, stretch=options.stretch, limits=options.limits)


def _write(job: Job, image: Tensor, options: Options) -> None:
    with trouble(f"write {job.output}"):
        bits = options.bits or _bits(job)
        write_image(job.output, image, bits=bits, overwrite=options.overwrite)


def _bits(job: Job) -> Literal[8, 16]:
    deep = _holds_16_bits(job.output) and 16 in (bit_depth(job.first), bit_depth(job.second))
    return 16 if deep else 8


def _holds_16_bits(path: Path) -> bool:
    return path.suffix.lower() in (".png", ".tif", ".tiff")


def _settle(
    job: Job, written: "Future[None]", summary: Summary, after: Callable[[Job], None]
) -> None:
    try:
        written.result()
        summary.done.append(job.output)
    except InputError as error:
        summary.failed[job.name] = str(error)
    after(job)
