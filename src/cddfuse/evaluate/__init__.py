"""Score a network, or the results of any tool, and say how far copies of the sources get."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from cddfuse.errors import InputError, trouble
from cddfuse.evaluate.folders import AnyPair, match_fused
from cddfuse.evaluate.protocol import Rows, published_grey, rows, stretched_rows
from cddfuse.evaluate.scores import TRIVIAL, Scores, Summary, Values
from cddfuse.fuse import fuse
from cddfuse.io import read_image
from cddfuse.metrics import PAPER_EIGHT, Metric, chosen, levels
from cddfuse.models.base import FusionModel
from cddfuse.pair import ImagePair
from cddfuse.runtime import Limits

__all__ = ["TRIVIAL", "Scores", "Summary", "evaluate", "published_grey"]

_AHEAD = 2  # pairs read before they are needed, and waiting for the scorers, at a time

_Result = dict[str, dict[str, dict[str, float]]]  # table, row, metric


class _Task(NamedTuple):
    name: str
    pair: AnyPair
    fused: Path | None


def evaluate(
    method: FusionModel | str | Path,
    pairs: Sequence[AnyPair],
    metrics: Iterable[str] = PAPER_EIGHT,
    profile: str = "paper",
    *,
    limit: int | None = None,
    limits: Limits | None = None,
    after: Callable[[str, int], None] = lambda name, total: None,
) -> Scores:
    """Score a method by the protocol of the published tables, beside the trivial methods.

    Sources are `published_grey`. A network fuses them at full size, and its results are scored
    twice, on 8-bit levels: stretched one by one, as published, and plain. Files are scored as they
    are. A pair that cannot be read, fused or scored is noted, the others are done.

    Args:
        method: a network in evaluation mode, on its device; or the folder of any tool's results.
        pairs: of files, as `cddfuse.io.pair_folders` finds them, or of images.
        metrics: names of the profile.
        profile: which dialect of the metrics, see `cddfuse.metrics.PROFILES`.
        limit: stop after so many pairs.
        limits: tiles, memory and precision of the network, if they are not to be chosen.
        after: called with its name, and the number of all, when a pair is out of the way.
    """
    records = chosen(dict.fromkeys(metrics), profile)
    if limit is not None and limit < 1:
        raise InputError(f"cannot stop after {limit} pairs: use 1 or more.")
    if isinstance(method, FusionModel):
        scores = Scores(method.card.name, profile, records)
        names = [pair.name or str(number) for number, pair in enumerate(pairs, 1)]
        tasks = [_Task(name, pair, None) for name, pair in zip(names, pairs, strict=True)]
    else:
        files, missing, unmatched, skipped = match_fused(Path(method), pairs)
        scores = Scores(str(method), profile, records, missing=missing, unmatched=unmatched)
        scores.skipped = skipped
        tasks = [_Task(p.name, p, files[p.name]) for p in pairs if p.name in files]
    tasks = tasks[:limit]
    network = method if isinstance(method, FusionModel) else None
    for name, result in _results(network, limits, tasks, records):
        if isinstance(result, InputError):
            scores.failed[name] = str(result)
        else:
            _add(scores, name, result)
        after(name, len(tasks))
    if not scores.images:
        reasons = list(scores.failed.values()) or ["there are no pairs"]
        raise InputError(f"none of {len(tasks)} pairs could be scored: {reasons[0]}")
    return scores


def _add(scores: Scores, name: str, result: _Result) -> None:
    scores.images.append(name)
    for table, of_rows in result.items():
        for row, of_metrics in of_rows.items():
            values: Values = scores.tables.setdefault(table, {}).setdefault(row, {})
            for metric, value in of_metrics.items():
                values.setdefault(metric, []).append(value)


def _results(
    network: FusionModel | None, limits: Limits | None, tasks: list[_Task], metrics: list[Metric]
) -> Iterator[tuple[str, _Result | InputError]]:
    """In the order of the tasks; the next pairs are read and fused while others are scored."""
    workers = min(4, os.cpu_count() or 1)
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(workers) as scorers:
        scoring: list[tuple[str, Future[_Result] | InputError]] = []
        for task, images in _read_ahead(reader, tasks):
            try:
                first, second, *fused = images.result()
                tables = _tables(network, limits, task, first, second, *fused)
                future = scorers.submit(_scored, task, tables, first, second, metrics)
                scoring.append((task.name, future))
            except InputError as error:
                scoring.append((task.name, error))
            while len(scoring) >= workers + _AHEAD:
                yield _settled(*scoring.pop(0))
        while scoring:
            yield _settled(*scoring.pop(0))


def _settled(name: str, scored: "Future[_Result] | InputError") -> tuple[str, _Result | InputError]:
    try:
        return name, scored if isinstance(scored, InputError) else scored.result()
    except InputError as error:
        return name, error


def _read_ahead(
    reader: ThreadPoolExecutor, tasks: list[_Task]
) -> Iterator[tuple[_Task, "Future[list[Tensor]]"]]:
    reading: list[tuple[_Task, Future[list[Tensor]]]] = []
    for task in tasks:
        reading.append((task, reader.submit(_read, task)))
        if len(reading) > _AHEAD:
            yield reading.pop(0)
    yield from reading


def _read(task: _Task) -> list[Tensor]:
    """Grey images (1, H, W) of one size: first, second, and the fused one if there is a file."""
    sources = [task.pair.first, task.pair.second, *([task.fused] if task.fused else [])]
    words = ("the first image", "the second image", "the fused image")
    images = []
    for source in sources:
        # Nobody can list all that decoders raise when they meet a bad file.
        with trouble(f"read {source if isinstance(source, Path) else task.name}", Exception):
            images.append(published_grey(read_image(source)))
    sizes = [f"{image.shape[-1]}x{image.shape[-2]}" for image in images]
    for source, size, word in zip(sources, sizes, words, strict=False):
        if size != sizes[0]:
            called = source if isinstance(source, Path) else word
            other = sources[0] if isinstance(sources[0], Path) else words[0]
            raise InputError(
                f"{called} is {size} and {other} is {sizes[0]}: use images of one size."
            )
    return images


def _tables(
    network: FusionModel | None,
    limits: Limits | None,
    task: _Task,
    first: Tensor,
    second: Tensor,
    *fused: Tensor,
) -> dict[str, Rows]:
    with trouble(f"fuse {task.name}"):
        if network is None:
            return {"saved": rows(fused[0], first, second)}
        result = fuse(network, ImagePair(first, second, task.name), limits=limits)
        images = (result, first, second)
        return {"stretched": stretched_rows(*images), "plain": rows(*images)}


def _scored(
    task: _Task, tables: dict[str, Rows], first: Tensor, second: Tensor, metrics: list[Metric]
) -> _Result:
    with trouble(f"score {task.name}"):
        return {
            table: {row: _values(image, first, second, metrics) for row, image in images.items()}
            for table, images in tables.items()
        }


def _values(
    image: Tensor, first: Tensor, second: Tensor, metrics: list[Metric]
) -> dict[str, float]:
    images = levels(image[None], first[None], second[None])
    return {metric.name: metric.of(images).item() for metric in metrics}
