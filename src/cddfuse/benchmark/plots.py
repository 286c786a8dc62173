"""Plots of a benchmark as SVG: distributions, ranks, score against cost. Same input, same bytes."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from cddfuse.benchmark.statistics import Ranks, cliques
from cddfuse.benchmark.tables import Column, Table
from cddfuse.benchmark.timing import Cost
from cddfuse.evaluate import BASELINES

_STYLE: Any = {
    "svg.hashsalt": "cddfuse",
    "svg.fonttype": "none",
    "text.parse_math": False,  # names of methods may hold a dollar sign
    "font.family": "sans-serif",
    "font.sans-serif": ["Arial", "Helvetica", "sans-serif", "DejaVu Sans"],
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
}
_METHOD, _BASELINE, _POINT = "#1f5fa8", "#8a8f98", "#c2410c"
_FEW = 60  # images up to which each is drawn as a point
_LABEL = 26  # characters of a label


def distributions(table: Table) -> str:
    """Values per image of every metric: box of the quartiles, whiskers at 5 and 95 %."""
    labels = list(table.values)
    panels = table.columns
    across = min(3, len(panels))
    down = -(-len(panels) // across)
    with mpl.rc_context(_STYLE):
        figure = Figure((3.3 * across, (0.17 * len(labels) + 0.62) * down), layout="constrained")
        for place, column in enumerate(panels):
            axes = figure.add_subplot(down, across, place + 1)
            _boxes(axes, table, column, labels, named=place % across == 0)
        return _svg(figure)


def _boxes(axes: Any, table: Table, column: Column, labels: Sequence[str], *, named: bool) -> None:
    rng = np.random.default_rng(0)
    for place, label in enumerate(labels):
        values = np.array(table.values[label][column.name])
        values = values[np.isfinite(values)]
        if not len(values):
            continue
        colour = _BASELINE if label in BASELINES else _METHOD
        if len(values) <= _FEW:
            spread = place + rng.uniform(-0.22, 0.22, len(values))
            axes.plot(values, spread, ".", ms=3.5, color=colour, alpha=0.45, mew=0)
        low, left, middle, right, high = np.quantile(values, (0.05, 0.25, 0.5, 0.75, 0.95))
        axes.plot((low, high), (place, place), color=colour, lw=0.8)
        axes.barh(place, right - left, 0.56, left, color="none", edgecolor=colour, lw=0.9)
        axes.plot((middle, middle), (place - 0.28, place + 0.28), color=colour, lw=1.6)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_yticks(
        range(len(labels)), [_short(x) for x in labels] if named else [""] * len(labels)
    )
    axes.tick_params(length=0, axis="y")
    axes.set_title(f"{column.name} {column.arrow}  ({column.profile})", loc="left", fontsize=8)


def rank_diagrams(columns: Sequence[Column], ranks: Mapping[str, Ranks]) -> str:
    """Mean ranks of every metric, best at the left; bars join what the Nemenyi test cannot tell."""
    shown = [column for column in columns if len(ranks[column.name].mean) > 1]
    if not shown:
        return ""
    most = max(len(ranks[column.name].mean) for column in shown)
    height = 0.15 * -(-most // 2) + 0.75
    with mpl.rc_context(_STYLE):
        figure = Figure((6.6, height * len(shown)))
        for place, column in enumerate(shown):
            bottom = 1 - (place + 1) / len(shown)
            axes = figure.add_axes((0.0, bottom, 1.0, 1 / len(shown)))
            _diagram(axes, column, ranks[column.name], height)
        return _svg(figure)


def _diagram(axes: Any, column: Column, ranks: Ranks, height: float) -> None:
    """Drawn in inches, the axis of ranks from 1.8 to 4.8."""
    axes.set(xlim=(0, 6.6), ylim=(height, 0))
    axes.axis("off")
    count = len(ranks.mean)

    def place(rank: float) -> float:
        return 1.8 + 3 * (rank - 1) / max(count - 1, 1)

    top = 0.38
    note = f"{column.name} {column.arrow} ({column.profile}), {ranks.images} images"
    axes.text(0.05, 0.12, note, va="center", fontweight="bold")
    if math.isfinite(ranks.critical):
        text = f"Friedman p = {ranks.p:.2g}, critical difference {ranks.critical:.2f}"
        axes.text(6.55, 0.12, text, va="center", ha="right")
    axes.plot((place(1), place(count)), (top, top), color="black", lw=0.8)
    for tick in range(1, count + 1):
        axes.plot((place(tick),) * 2, (top - 0.05, top), color="black", lw=0.6)
        axes.text(place(tick), top - 0.07, str(tick), ha="center", va="bottom", fontsize=6)
    ordered = sorted(ranks.mean, key=lambda name: ranks.mean[name])
    half = -(-count // 2)
    for index, name in enumerate(ordered):
        left = index < half
        row = index if left else count - 1 - index
        level = top + 0.27 + 0.15 * row
        edge = 1.7 if left else 4.9
        x = place(ranks.mean[name])
        axes.plot((x, x, edge), (top, level, level), color="black", lw=0.5)
        colour = _BASELINE if name in BASELINES else _METHOD
        text = (
            f"{_short(name)} {ranks.mean[name]:.2f}"
            if left
            else f"{ranks.mean[name]:.2f} {_short(name)}"
        )
        axes.text(
            edge - 0.05 if left else edge + 0.05,
            level,
            text,
            ha="right" if left else "left",
            va="center",
            color=colour,
        )
    if math.isfinite(ranks.critical):
        for index, (low, high) in enumerate(cliques(ranks.mean, ranks.critical)):
            level = top + 0.05 + 0.045 * (index % 4)
            axes.plot((place(low) - 0.03, place(high) + 0.03), (level, level), color="black", lw=2)


def score_against_cost(table: Table, costs: Mapping[str, Cost]) -> str:
    """Means with 95 % intervals against seconds for a pair; baselines as lines."""
    labels = [label for label in table.methods if label in costs]
    if not labels:
        return ""
    across = min(3, len(table.columns))
    down = -(-len(table.columns) // across)
    with mpl.rc_context(_STYLE):
        figure = Figure((3.3 * across, 2.1 * down), layout="constrained")
        for place, column in enumerate(table.columns):
            axes = figure.add_subplot(down, across, place + 1)
            for label in labels:
                summary = table.summaries[label][column.name]
                seconds = costs[label].seconds
                if not math.isfinite(summary.mean):
                    continue
                if math.isfinite(summary.low):
                    axes.plot((seconds,) * 2, (summary.low, summary.high), color=_METHOD, lw=0.8)
                axes.plot(seconds, summary.mean, "o", ms=4, color=_METHOD)
                axes.annotate(
                    _short(label),
                    (seconds, summary.mean),
                    (4, 3),
                    textcoords="offset points",
                    fontsize=7,
                )
            for name in ("mean", "max"):
                level = (
                    table.summaries[name][column.name].mean if name in table.values else math.nan
                )
                if math.isfinite(level):
                    axes.axhline(level, color=_BASELINE, lw=0.7, ls="--")
                    axes.annotate(
                        name,
                        (0, level),
                        (2, 2),
                        xycoords=("axes fraction", "data"),
                        textcoords="offset points",
                        color=_BASELINE,
                        fontsize=6,
                    )
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(_plain)
            axes.xaxis.set_minor_formatter(_nothing)
            axes.margins(x=0.35)
            axes.set_title(
                f"{column.name} {column.arrow}  ({column.profile})", loc="left", fontsize=8
            )
            if place >= len(table.columns) - across:
                axes.set_xlabel("seconds for 640 x 480")
        return _svg(figure)


def _plain(value: float, place: float) -> str:
    return f"{value:g}"


def _nothing(value: float, place: float) -> str:
    return ""


def _short(text: str) -> str:
    return text if len(text) <= _LABEL else f"{text[: _LABEL - 3]}..."


def _svg(figure: Figure) -> str:
    """The markup from <svg on, to be put into a page."""
    FigureCanvasSVG(figure)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
