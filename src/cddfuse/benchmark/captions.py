"""What tables say in words: captions, legends, notes, labels of rows, costs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from cddfuse.benchmark.cells import BASELINE
from cddfuse.benchmark.rewards import rewarded_metrics
from cddfuse.benchmark.suite import Results
from cddfuse.benchmark.tables import Cell, Row, Table
from cddfuse.benchmark.timing import is_busy, machine
from cddfuse.metrics import PROFILES

MARKS = {"first": "f", "second": "s", "mean": "a", "max": "m"}
"""Letters for baselines that beat a cell: a is for the average."""

TASKS = {"ivf": "Infrared and visible images", "mif": "Medical images"}
VARIANTS = {
    "stretched": "each image stretched to 0..255, as in published tables",
    "plain": "without the stretch",
}


NO_COLUMNS: Mapping[str, Sequence[str]] = {}


def number(value: float, digits: int = 3) -> str:
    """A mean as tables print it."""
    text = f"{value:.{digits}f}" if abs(value) < 100 else f"{value:.1f}"
    return "-" if math.isnan(value) else text


def difference_text(value: float, digits: int) -> str:
    """A difference of means with its sign, of at least two digits that are not leading zeros.

    Args:
        value: the difference.
        digits: decimals of the means.
    """
    needed = 1 - math.floor(math.log10(abs(value))) if value and math.isfinite(value) else 0
    return f"{value:+.{max(digits, min(needed, 8))}f}"


def cell_text(cell: Cell | None, bold: str, underlined: str, digits: int = 3) -> str:
    """A mean as a table prints it, best and second marked by these formats; "-" without one."""
    if cell is None or math.isnan(cell.summary.mean):
        return "-"
    return {1: bold, 2: underlined}.get(cell.place, "{}").format(number(cell.summary.mean, digits))


def row_digits(row: Row, table: Table) -> dict[str, int]:
    """Decimals of the cells of a row: those of the column, or the two that others published."""
    published = row.kind == "published"
    return {c.name: 2 if published else table.digits(c) for c in table.columns}


def caption(table: Table) -> str:
    """What a table shows, in one line."""
    profiles = dict.fromkeys(column.profile for column in table.columns)
    named = [
        f"{profile} ({', '.join(c.name for c in table.columns if c.profile == profile)})"
        for profile in profiles
    ]
    count = f"{len(table.images)} pair" + ("s" if len(table.images) != 1 else "")
    words = "profile " if len(profiles) == 1 else "profiles "
    return (
        f"{table.data.title}, {count}, {VARIANTS[table.variant]}; metric {words}{', '.join(named)}"
    )


def legend(found: Sequence[Table]) -> list[str]:
    """What the signs mean, as far as they occur, and what has to be known to read the tables."""
    rows = [row for table in found for row in table.rows]
    cells = [cell for row in rows for cell in row.cells.values()]
    marks = ", ".join(f"{mark} {name}" for name, mark in MARKS.items())
    lines = [
        "Best method bold, second underlined. Baselines and published figures do not compete."
        if any(cell.place for cell in cells)
        else "",
        "Methods that were trained for the other task compete among themselves."
        if any(row.trained and row.trained != t.data.task for t in found for row in t.rows)
        else "",
        f"Letters: baselines with a better mean than the method ({marks}): first and second source "
        "as they are, their mean (average) and maximum."
        if any(cell.beaten_by for cell in cells)
        else "",
        "n: number of images that a mean is over, where the metric is undefined for the others."
        if any(cell.summary.undefined and cell.summary.mean == cell.summary.mean for cell in cells)
        else "",
        "-: undefined, as SCD is for unchanged sources, or not published."
        if any(cell.summary.mean != cell.summary.mean for cell in cells)
        else "",
        "Published: figures of others, over all pairs of the published set, not measured here."
        if any(table.published for table in found)
        else "",
        "Demonstration weights: of this package, trained for minutes, not those of the authors; no "
        "ranking of the published methods follows from them."
        if any(row.demonstration for row in rows)
        else "",
        "As saved: files of another tool, 8 bits, which it may have stretched itself."
        if any(row.as_saved for row in rows)
        else "",
    ]
    return [line for line in lines if line]


def compares(found: Sequence[Table]) -> list[str]:
    """What the profiles are comparable with."""
    names = dict.fromkeys(column.profile for table in found for column in table.columns)
    return [f"Profile {name}: {PROFILES[name].compares}" for name in names]


def _busy(results: Results) -> list[str]:
    loads = [cost.load for cost in results.costs.values()]
    if loads and is_busy(max(loads)):
        return [
            f"The machine was busy while costs were measured (load {max(loads):.1f} on "
            f"{machine()['cores']} cores): seconds are too high, and comparable only roughly."
        ]
    return []


def notes(results: Results, found: Sequence[Table]) -> list[str]:
    """What a reader has to know beside the numbers: sentences, each once."""
    lines = [f"{t.data.title}: {t.expected()}" for t in found if t.expected()]
    lines += [
        f"{table.data.title}: {len(table.images)} pairs are too few to tell methods apart."
        for table in found
        if len(table.images) < 10
    ]
    lines += [
        f"{table.data.title}: names do not say which images share a scene or patient, so intervals "
        "and tests take them as independent and are too narrow."
        for table in found
        if table.data.card and table.data.card.scene and len(set(table.scenes)) == len(table.images)
    ]
    checked = {method.label for method in results.plan.methods if method.unseen}
    for (data, label), record in results.records.items():
        lines += [f"{data}: {note}" for note in record.notes]
        known = label == BASELINE.label or label in checked or record.facts.get("trained")
        if record.facts.get("weights") and not known:
            lines.append(
                f"{label}: its training images are not known, so it was not checked whether "
                "the pairs here are among them."
            )
        if asked := _asked_for(record.facts):
            lines.append(
                f"{label}: the loss of its training has terms for {', '.join(asked)}, so these "
                "scores say less about it than the others."
            )
    return list(dict.fromkeys([*lines, *_busy(results)]))


def _asked_for(facts: Mapping[str, Any]) -> list[str]:
    """Metrics that the loss of a method's weights asks for."""
    if not facts.get("weights") or "model" not in facts:
        return []
    names = {str(metric).partition("@")[0] for metric in facts["metrics"]}
    found = rewarded_metrics(str(facts["model"]), str(facts["weights"]))
    return [name for name in found if any(each.startswith(name) for each in names)]


def row_label(row: Row, table: Table) -> str:
    """What a table calls a row."""
    foreign = row.trained not in ("", table.data.task) or (row.trained and table.data.task == "mif")
    extras = [
        row.kind if row.kind != "method" else "",
        "as saved" if row.as_saved else "",
        f"trained on {row.trained.upper()}" if row.kind == "method" and foreign else "",
        "demonstration weights" if row.demonstration else "",
    ]
    return ", ".join([row.label, *(extra for extra in extras if extra)])


COST_HEADINGS = ("parameters", "GMAC", "seconds", "slowest turn", "peak memory, MB", "device")


def cost_cells(cost: Any) -> list[str]:
    """The cells of a table under `COST_HEADINGS`."""
    work = "-" if cost.multiply_adds is None else f"{cost.multiply_adds / 1e9:.1f}"
    return [
        f"{cost.parameters:,}",
        work,
        f"{cost.seconds:.3g}",
        f"{cost.slowest:.3g}",
        f"{cost.peak_bytes / 1e6:.0f}",
        cost.device,
    ]
