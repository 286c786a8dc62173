"""Do the scores of image fusion rank methods as a detector does? Correlation over rows.

Every row with images of its own has a mean of each score over the test images, and an AP or IoU.
Their rank correlation (Spearman) over rows is given with two intervals: a bootstrap over the test
images, the same resamples for both; and one for the few rows that there are, by Fisher's z with
the variance of Bonett and Wright (Psychometrika, 2000), which for eight rows is wide.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cddfuse.downstream.inputs import Input, as_files
from cddfuse.downstream.kept import record
from cddfuse.downstream.statistics import LEVEL, Interval, image_weights
from cddfuse.downstream.suite import Results
from cddfuse.errors import InputError
from cddfuse.evaluate import evaluate
from cddfuse.evaluate.provenance import hash_code, hash_facts
from cddfuse.io import read_image, replacing, write_image
from cddfuse.io.image_files import ImagePairs
from cddfuse.metrics import PAPER_EIGHT, PROFILES, Metric

Values = NDArray[np.float64]

METRICS: tuple[Metric, ...] = (
    *(PROFILES["paper"][name] for name in PAPER_EIGHT),
    PROFILES["corrected"]["TC"],
)
"""The eight of the published tables, and target contrast."""

LEAST_ROWS = 4


@dataclass(frozen=True)
class Correlation:
    """Of one score with a measure of the task, over rows."""

    score: str
    better: str
    """Which direction of the score is better."""

    rho: float
    """Spearman's; positive if the better score goes with the better detection. NaN where all rows
    have one score."""

    images: Interval
    """Over resamples of the test images."""

    rows: Interval
    """Over rows."""

    points: Mapping[str, tuple[float, float]]
    """Mean score and measure of each row."""


def require_possible(inputs: Sequence[Input], classes: Sequence[str], name: str) -> None:
    """Check, before hours of work, that there is something to correlate, and the figure's package.

    Args:
        inputs: the rows.
        classes: their names.
        name: of the class, or `mean`.
    """
    if name != "mean":
        _place(classes, name)
    _require_rows([each.label for each in inputs if each.label != "early"])
    _figure()


def _place(classes: Sequence[str], name: str) -> int:
    if name not in classes:
        text = f"there is no class {name}: use {', '.join(classes)}, or mean."
        raise InputError(text, "correlate")
    return list(classes).index(name)


def _require_rows(labels: Sequence[str]) -> None:
    if len(labels) < LEAST_ROWS:
        raise InputError(
            f"{len(labels)} rows with images are too few for a correlation: use {LEAST_ROWS}.",
            setting="inputs",
        )


def correlations(
    scores: Mapping[str, Mapping[str, Sequence[float]]],
    resampled: Mapping[str, Values],
    values: Mapping[str, float],
    weights: Values,
    metrics: Sequence[Metric] = METRICS,
) -> list[Correlation]:
    """Correlation of each score with a measure.

    Args:
        scores: of each test image by row and metric; NaN where a score is undefined.
        resampled: (resamples,) the measure of each row, mean over seeds.
        values: the measure of each row, mean over seeds.
        weights: (resamples, images) that `resampled` was made with.
        metrics: which scores.
    """
    labels = list(scores)
    _require_rows(labels)
    return [_correlation(m, labels, scores, resampled, values, weights) for m in metrics]


def _correlation(
    metric: Metric,
    labels: Sequence[str],
    scores: Mapping[str, Mapping[str, Sequence[float]]],
    resampled: Mapping[str, Values],
    values: Mapping[str, float],
    weights: Values,
) -> Correlation:
    table = np.array([scores[label][metric.name] for label in labels], np.float64)
    rows = np.flatnonzero(np.isfinite(table).any(axis=1))
    if len(rows) == 0:
        return Correlation(metric.name, metric.better, math.nan, Interval(), Interval(), {})
    table, kept = table[rows], [labels[row] for row in rows.tolist()]
    once = np.ones((1, table.shape[1]))
    means, drawn = _means(table, once)[:, 0], _means(table, weights)
    sign = 1 if metric.better == "higher" else -1
    mine = np.array([values[label] for label in kept])
    theirs = np.stack([resampled[label] for label in kept])
    rho = spearman(sign * means, mine)
    every = np.array([spearman(sign * drawn[:, n], theirs[:, n]) for n in range(len(weights))])
    every = every[np.isfinite(every)]
    tail = (1 - LEVEL) / 2
    images = Interval(*np.quantile(every, (tail, 1 - tail)).tolist()) if len(every) else Interval()
    points = {k: (float(x), float(y)) for k, x, y in zip(kept, means, mine, strict=True)}
    return Correlation(metric.name, metric.better, rho, images, over_rows(rho, len(kept)), points)


def _means(table: Values, weights: Values) -> Values:
    """Means over the images that a score is defined for: (rows, resamples)."""
    defined = np.isfinite(table)
    total = np.where(defined, table, 0) @ weights.T
    count = defined @ weights.T
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def spearman(one: Values, other: Values) -> float:
    """Rank correlation over the rows for which both are defined; NaN of equal values."""
    from scipy import stats

    both = np.isfinite(one) & np.isfinite(other)
    if both.sum() < LEAST_ROWS:
        return math.nan
    ranks = [stats.rankdata(np.round(values[both], 12)) for values in (one, other)]
    if min(map(np.ptp, ranks)) == 0:
        return math.nan
    return float(np.corrcoef(*ranks)[0, 1])


def over_rows(rho: float, rows: int) -> Interval:
    """95 % of a rank correlation over so many rows.

    Fisher's z has no place for a perfect one: that is as wide as if two neighbours had changed
    ranks, for fewer rows would be as perfect by chance.
    """
    from scipy import stats

    if math.isnan(rho) or rows < LEAST_ROWS:
        return Interval()
    most = 1 - 12 / (rows * (rows**2 - 1))
    held = min(max(rho, -most), most)
    half = float(stats.norm.ppf((1 + LEVEL) / 2)) * math.sqrt((1 + held**2 / 2) / (rows - 3))
    middle = math.atanh(held)
    return Interval(min(rho, math.tanh(middle - half)), max(rho, math.tanh(middle + half)))


def fusion_scores(
    results: Results, out: Path, after: Callable[[str], None] = lambda label: None
) -> dict[str, dict[str, list[float]]]:
    """Scores of the test images of each row by metric; `early` has none. Kept in `out/scores`."""
    names = results.labelled.partition.test
    pairs = [results.labelled.pairs[name] for name in names]
    found: dict[str, dict[str, list[float]]] = {}
    for label in results.rows:
        if label == "early":
            continue
        row = results.prepared[label]
        code = hash_code(("metrics", "evaluate"))
        key = hash_facts([row.key, results.labelled.partition.digest, code])
        path = out / "scores" / f"{key[:24]}.json"
        stored = _kept(path, len(names))
        if stored is None:
            folder = out / "scores" / f"images-{row.key[:12]}"
            for name, file in as_files(row, pairs, results.ranges, out).items():
                write_image(folder / f"{name}.png", read_image(file), overwrite=True)
            source = ImagePairs(pairs, ranges=results.ranges)
            scored = evaluate(folder, source, METRICS, baselines=False)
            (values,) = (table["fused"] for table in scored.tables.values())
            place = {name: number for number, name in enumerate(scored.images)}
            stored = {
                metric: [_finite(column[place[name]]) if name in place else None for name in names]
                for metric, column in values.items()
            }
            with replacing(path) as temporary:
                temporary.write_text(json.dumps(stored), encoding="utf-8")
        found[label] = {m: [math.nan if x is None else x for x in xs] for m, xs in stored.items()}
        after(label)
    return found


def _kept(path: Path, images: int) -> dict[str, list[float | None]] | None:
    """Scores of so many images from a file; None if it is not there, or damaged."""
    with suppress(InputError):
        stored = record(path)
        columns = stored.values()
        if columns and all(isinstance(each, list) and len(each) == images for each in columns):
            return stored
    return None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def of_class(results: Results, out: Path, measure: str, name: str | None) -> list[Correlation]:
    """Correlation of each score with a measure of one class.

    Args:
        results: of `suite.run_plan`.
        out: folder that the scores are kept in.
        measure: such as AP@0.5.
        name: of the class; None is the mean over classes.
    """
    index = None if name is None else _place(results.labelled.classes.kept, name)
    scores = fusion_scores(results, out)
    estimates = {label: results.rows[label][measure].estimate(index).mean for label in scores}
    drawn = {label: results.rows[label][measure].of(index)[1].mean(0) for label in scores}
    names = results.labelled.partition.test
    return correlations(scores, drawn, estimates, image_weights(results.frames.scenes(names)))


def as_markdown(found: Sequence[Correlation], what: str) -> str:
    """A table of correlations, the strongest first."""
    lines = [
        f"Rank correlation with {what} over {max(len(each.points) for each in found)} rows:",
        "",
        "| score | rho | over images | over rows |",
        "| --- | ---: | ---: | ---: |",
    ]
    ordered = sorted(found, key=lambda each: -each.rho if each.rho == each.rho else math.inf)
    for each in ordered:
        rho = f"{each.rho:+.2f}" if each.rho == each.rho else "-"
        spans = [
            f"{span.low:+.2f} to {span.high:+.2f}" if span.known else "-"
            for span in (each.images, each.rows)
        ]
        lines.append(f"| {each.score} | {rho} | {' | '.join(spans)} |")
    return "\n".join(lines) + "\n"


def figure(found: Sequence[Correlation], what: str, path: Path) -> None:
    """Draw each score against the measure, one panel a score, with rho and its interval."""
    across = 3
    down = -(-len(found) // across)
    made = _figure((3.2 * across, 2.5 * down), layout="constrained")
    for place, each in enumerate(found, start=1):
        axes = made.add_subplot(down, across, place)
        for label, (score, value) in each.points.items():
            axes.plot(score, 100 * value, "o", ms=4, color=_colour(label))
            axes.annotate(
                label.replace("$", r"\$"),
                (score, 100 * value),
                (4, 3),
                textcoords="offset points",
                fontsize=6,
            )
        span = f" [{each.rows.low:.2f}, {each.rows.high:.2f}]" if each.rows.known else ""
        arrow = "↑" if each.better == "higher" else "↓"
        rho = "undefined" if math.isnan(each.rho) else f"{each.rho:+.2f}"
        axes.set_title(f"{each.score} {arrow}  rho {rho}{span}", fontsize=8, loc="left")
        axes.tick_params(labelsize=7)
        axes.margins(x=0.3, y=0.15)  # room for labels at the right
        if (place - 1) % across == 0:
            axes.set_ylabel(what, fontsize=7)
    with replacing(path) as temporary:
        made.savefig(temporary, dpi=110)


def _figure(*size: Any, **how: Any) -> Any:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        text = "the figure needs matplotlib: pip install 'cddfuse[figures]' first."
        raise InputError(text) from error
    made = Figure(*size, **how)
    FigureCanvasAgg(made)
    return made


def _colour(label: str) -> str:
    return "#8a8f98" if label in ("vi", "ir", "mean", "max") else "#1f5fa8"
