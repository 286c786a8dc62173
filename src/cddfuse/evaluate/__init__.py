"""Score a network, or the results of any tool, beside the baselines that it has to beat."""

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Literal

from torch import Tensor

from cddfuse.errors import InputError, trouble
from cddfuse.evaluate.matching import Matched, match_fused
from cddfuse.evaluate.protocol import Rows, published_grey, rows, stretched_rows
from cddfuse.evaluate.scores import BASELINES, Facts, PairScores, Scores, Summary
from cddfuse.evaluate.sources import Fit, GreyImages, Images, Pairs, as_source, listed
from cddfuse.fuse import fuse
from cddfuse.metrics import PAPER_EIGHT, Metric, chosen, levels
from cddfuse.models.base import FusionModel
from cddfuse.pipeline import process
from cddfuse.runtime import Limits

__all__ = ["BASELINES", "Images", "Scores", "Summary", "evaluate", "published_grey"]

_Tables = Mapping[str, Callable[[Tensor, Tensor, Tensor], Rows]]

_OF_NETWORKS: _Tables = {"stretched": stretched_rows, "plain": rows}
_OF_FILES: _Tables = {"saved": rows}
_OF_FILES_TWICE: _Tables = {"stretched": stretched_rows, "saved": rows}


def evaluate(
    method: FusionModel | str | Path,
    pairs: Pairs,
    metrics: Iterable[str | Metric] = PAPER_EIGHT,
    profile: str = "paper",
    *,
    resize: bool = False,
    crop: bool = False,
    limit: int | None = None,
    limits: Limits | None = None,
    baselines: bool = True,
    stretch: bool = False,
    results: Callable[[Images], None] = lambda images: None,
    after: Callable[[str, int | None], None] = lambda name, total: None,
) -> Scores:
    """Score a method by the protocol of the published tables, beside the baselines.

    Sources are converted by `published_grey`. A network fuses them at full size, and its results
    are scored twice, quantised to 8 bits: each stretched to the full range, as in published tables,
    and as it is. Results of other tools are scored as they are. A pair that cannot be read, fused
    or scored is recorded, and the others are done.

    Args:
        method: a network in evaluation mode, on its device; the folder of any tool's results; or
            one file, if there is one pair.
        pairs: a source (`cddfuse.io.formats.open_source`), a list of files
            (`cddfuse.io.pair_folders(...).pairs`), or a list of images.
        metrics: names in the profile, and metrics of your own.
        profile: which implementations the names stand for, see `cddfuse.metrics.PROFILES`.
        resize: resize results to the size of their sources and, in lists, the second source to
            the size of the first.
        crop: crop sources centrally to the size of the result.
        limit: stop after so many pairs.
        limits: tiles, memory and precision of the network; None chooses them.
        baselines: score them too; without, a table has the row "fused" only.
        stretch: score results of other tools a second time, each stretched to the full range.
        results: called with each fused image and its grey sources, in several threads.
        after: called with the name of each pair that is done or has failed, and the number of all,
            or None if the source does not know it.
    """
    records = chosen(metrics, profile)
    if limit is not None and limit < 1:
        raise InputError(f"cannot stop after {limit} pairs: use 1 or more.", setting="limit")
    source = as_source(pairs, resize=resize)
    if isinstance(method, FusionModel):
        if crop:
            raise InputError(
                "results of a network have the size of their sources: do not crop.", setting="crop"
            )
        scores = Scores(method.card.name, profile, records)
        images, tables = GreyImages(source, limit=limit), _OF_NETWORKS
        work: Callable[[Images], Images] = partial(_fused, method, limits)
    else:
        path, known = Path(method), listed(source)
        one = len(known) == 1 and path.is_file()
        found = Matched({known[0].name: path}, [], [], []) if one else match_fused(path, known)
        scores = Scores(
            str(path),
            profile,
            records,
            missing=found.missing,
            unmatched=found.unmatched,
            skipped=found.skipped,
        )
        fit: Fit | None = "crop" if crop else "resize" if resize else None
        images = GreyImages(source, found.files, fit, limit)
        tables = _OF_FILES_TWICE if stretch else _OF_FILES
        work = _as_saved
    scores.notes += source.notes
    scores.skipped[:0] = source.skipped
    wanted = None if baselines else ("fused",)
    _score(scores, images, work, partial(_scored, tables, wanted, scores.metrics), results, after)
    return scores


def _fused(network: FusionModel, limits: Limits | None, images: Images) -> Images:
    return images._replace(fused=fuse(network, images.pair, limits=limits))


def _as_saved(images: Images) -> Images:
    return images


def _score(
    scores: Scores,
    images: GreyImages,
    work: Callable[[Images], Images],
    score: Callable[[Images], PairScores],
    results: Callable[[Images], None],
    after: Callable[[str, int | None], None],
) -> None:
    """Compute the metrics of pairs in threads while the next ones are read and fused."""
    found: dict[str, PairScores] = {}

    def finish(name: str, images: Images) -> bool:
        with trouble(f"score {name}"):
            results(images)
            found[name] = score(images)
        return True

    summary = process(
        images,
        work,
        finish,
        "fuse",
        after=lambda name: after(name, images.length),
        readers=1,  # scoring takes longer: more would only hold more images
        finishers=min(4, os.cpu_count() or 1),
    )
    scores.failed = summary.failed
    for name in summary.done:
        scores.add(name, found[name])
    if not scores.images:
        reason = next(iter(summary.failed.values()), InputError("there are no pairs."))
        raise InputError(
            f"none of {len(summary.failed)} pairs could be scored: {reason}", reason.setting
        )


def _scored(
    tables: _Tables, wanted: tuple[str, ...] | None, metrics: list[Metric], images: Images
) -> PairScores:
    first, second, _ = images.pair
    fused = images.fused
    assert fused is not None
    values = {
        table: {
            row: _values(image, first, second, metrics)
            for row, image in make(fused, first, second).items()
            if wanted is None or row in wanted
        }
        for table, make in tables.items()
    }
    height, width = fused.shape[-2:]
    return PairScores(values, Facts(height, width, _blank(fused, first, second), images.fit))


def _values(
    image: Tensor, first: Tensor, second: Tensor, metrics: list[Metric]
) -> dict[str, float]:
    images = levels(image[None], first[None], second[None])
    return {metric.name: metric.of(images).item() for metric in metrics}


def _blank(fused: Tensor, *sources: Tensor) -> Literal["black", "flat"] | None:
    """Whether nothing is left of sources that show something, on 8-bit levels."""
    low, high = _levels(fused)
    if high <= 1 and any(_levels(source)[1] > 1 for source in sources):
        return "black"
    flat_sources = all(len(set(_levels(source))) == 1 for source in sources)
    return "flat" if low == high and not flat_sources else None


def _levels(image: Tensor) -> tuple[int, int]:
    """Lowest and highest 8-bit level."""
    low, high = image.aminmax()
    return round(low.item() * 255), round(high.item() * 255)
