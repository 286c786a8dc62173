"""The published tables of a benchmark: Markdown, LaTeX, CSV and JSON."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from cddfuse.benchmark import statistics
from cddfuse.benchmark.cells import BASELINE, TABLES, Record
from cddfuse.benchmark.plan import DataSet, columns
from cddfuse.benchmark.published import published_rows
from cddfuse.benchmark.statistics import Paired, Ranks
from cddfuse.benchmark.suite import Results
from cddfuse.benchmark.timing import machine
from cddfuse.evaluate import BASELINES, Summary
from cddfuse.metrics import PAPER_EIGHT, PROFILES, Metric

MARKS = {"first": "f", "second": "s", "mean": "a", "max": "m"}
"""Letters for baselines that beat a cell: a is for the average."""

TASKS = {"ivf": "Infrared and visible images", "mif": "Medical images"}
VARIANTS = {
    "stretched": "each image stretched to 0..255, as in published tables",
    "plain": "without the stretch",
}
_EQUAL = 1e-9  # relative; less is rounding
_SHOWN = 5


@dataclass(frozen=True)
class Column:
    """A metric with the profile that its numbers are of."""

    metric: Metric
    profile: str

    @property
    def name(self) -> str:
        """Of the metric."""
        return self.metric.name

    @property
    def arrow(self) -> str:
        """Which direction is better."""
        return "↑" if self.metric.better == "higher" else "↓"


@dataclass(frozen=True)
class Cell:
    """One metric of one method on one data set."""

    summary: Summary
    place: int = 0
    """1 for the best of the methods, 2 for the second; else 0."""

    beaten_by: tuple[str, ...] = ()
    """Baselines with a better mean, over the images for which both are defined."""


@dataclass(frozen=True)
class Row:
    """One method on one data set."""

    label: str
    kind: str
    """method, baseline or published."""

    cells: Mapping[str, Cell]
    images: int
    """Number of pairs that were scored."""

    trained: str = ""
    """Task that the weights were trained for, where it is known."""

    as_saved: bool = False
    """Whether it is from files of another tool."""

    demonstration: bool = False
    """Whether it has weights of this package that were trained for minutes."""

    complete: bool = True
    """Whether all pairs of the data set were scored."""


@dataclass
class Table:
    """All methods on one data set, with the stretch or without."""

    data: DataSet
    variant: str
    columns: list[Column]
    images: list[str]
    """Pairs that at least one method or the baselines were scored on."""

    values: dict[str, dict[str, list[float]]]
    """Per image of `images`, by row and metric; NaN where undefined or not scored."""

    records: dict[str, Record]

    @cached_property
    def scenes(self) -> list[str]:
        """Of the images."""
        return [self.data.scene_of(name) for name in self.images]

    @property
    def methods(self) -> list[str]:
        """Rows that are no baselines."""
        return [label for label in self.values if label not in BASELINES]

    @cached_property
    def rows(self) -> list[Row]:
        """Methods, trained for this task first, then baselines."""
        methods = [self._row(label, "method") for label in sorted(self.methods, key=self._foreign)]
        methods += [self._row(label, "baseline") for label in BASELINES if label in self.values]
        return methods

    @cached_property
    def published(self) -> list[Row]:
        """Figures of others: profile paper, stretched, all pairs of the published set."""
        if self.variant != "stretched" or not self.data.card:
            return []
        models = [str(r.facts.get("model")) for r in self.records.values() if "model" in r.facts]
        count = next(iter(self.data.card.splits.values())).pairs
        return [
            Row(label, "published", self._published_cells(values), count)
            for label, values in published_rows(["cddfuse", *models], self.data.card.name).items()
        ]

    def _published_cells(self, values: Sequence[float]) -> dict[str, Cell]:
        known = dict(zip(PAPER_EIGHT, values, strict=True))
        nan = math.nan
        return {
            column.name: Cell(Summary(known[column.name], nan, nan, nan, 0))
            for column in self.columns
            if column.profile == "paper" and column.name in known
        }

    def _trained(self, label: str) -> str:
        return str(self.records[label].facts.get("trained", "")) if label in self.records else ""

    def _foreign(self, label: str) -> bool:
        """Whether the weights were trained for the other task, which is a table of its own."""
        return self._trained(label) not in ("", self.data.task)

    def _row(self, label: str, kind: str) -> Row:
        record = self.records.get(label, self.records.get(BASELINE.label))
        scored = len(record.images) if record else 0
        return Row(
            label,
            kind,
            {column.name: self._cell(label, column) for column in self.columns},
            scored,
            self._trained(label),
            bool(record and record.facts.get("as_saved")),
            kind == "method" and record is not None and _demonstration(record),
            scored == len(self.images),
        )

    def _cell(self, label: str, column: Column) -> Cell:
        summary = self.summaries[label][column.name]
        place = 0
        if label in self.methods:
            ranked = self._places[column.name, self._foreign(label)]
            # Of two methods, nothing is second that is not also last.
            shown = 2 if sum(map(len, ranked)) > 2 else 1
            place = next((i + 1 for i, names in enumerate(ranked[:shown]) if label in names), 0)
        return Cell(summary, place, self._beaten(label, column))

    @cached_property
    def summaries(self) -> dict[str, dict[str, Summary]]:
        """Statistics by row and metric."""
        return {
            label: {name: statistics.summary(column, self.scenes) for name, column in of.items()}
            for label, of in self.values.items()
        }

    @cached_property
    def _places(self) -> dict[tuple[str, bool], list[list[str]]]:
        """Methods in order by metric, equal ones together; those of the other task apart.

        Only those that were scored on all pairs, and are defined for as many as any.
        """
        groups = {
            foreign: [label for label in self.methods if self._foreign(label) == foreign]
            for foreign in (False, True)
        }
        return {
            (column.name, foreign): self._order(column, labels)
            for column in self.columns
            for foreign, labels in groups.items()
        }

    def _order(self, column: Column, labels: Sequence[str]) -> list[list[str]]:
        found = {label: self.summaries[label][column.name] for label in labels}
        least = min((s.undefined for s in found.values() if not math.isnan(s.mean)), default=0)
        sign = -1 if column.metric.better == "higher" else 1
        means = sorted(
            (sign * s.mean, label)
            for label, s in found.items()
            if s.undefined == least and math.isfinite(s.mean)
        )
        if len(means) < 2:  # nothing is the best of one
            return []
        ordered: list[list[str]] = []
        last = math.nan
        for mean, label in means:
            if ordered and abs(mean - last) <= _EQUAL * max(abs(mean), abs(last)):
                ordered[-1].append(label)
            else:
                ordered.append([label])
            last = mean
        return ordered

    def _beaten(self, label: str, column: Column) -> tuple[str, ...]:
        if label in BASELINES:
            return ()
        mine = np.array(self.values[label][column.name])
        found = []
        for name in BASELINES:
            if name not in self.values:
                continue
            theirs = np.array(self.values[name][column.name])
            both = np.isfinite(mine) & np.isfinite(theirs)
            if both.sum() > len(both) / 2:  # SCD of stretched sources is defined for some
                lead = (theirs[both] - mine[both]).mean()
                lead = lead if column.metric.better == "higher" else -lead
                if lead > _EQUAL * abs(mine[both].mean()):
                    found.append(name)
        return tuple(found)

    def against(self, reference: str) -> dict[str, dict[str, Paired]]:
        """Every other row against one method, by row and metric, with Holm's correction.

        The correction is over all tests of the table.
        """
        if reference not in self.values:
            return {}
        tests = {
            (label, column.name): statistics.paired(
                self.values[label][column.name], self.values[reference][column.name]
            )
            for label in self.values
            if label != reference
            for column in self.columns
        }
        adjusted = statistics.holm([test.p for test in tests.values()])
        found: dict[str, dict[str, Paired]] = {}
        for ((label, name), test), p in zip(tests.items(), adjusted, strict=True):
            fixed = Paired(test.images, test.difference, test.p, test.identical, p)
            found.setdefault(label, {})[name] = fixed
        return found

    @cached_property
    def ranks(self) -> dict[str, Ranks]:
        """Ranks of all rows by metric, baselines among them."""
        return {
            column.name: statistics.rank(
                {label: of[column.name] for label, of in self.values.items()}, column.metric.better
            )
            for column in self.columns
        }

    def brief(self) -> list[str]:
        """Each method in a sentence: where it is best, and where a baseline is better."""
        lines = []
        for row in self.rows:
            if row.kind == "method":
                count = sum(not math.isnan(cell.summary.mean) for cell in row.cells.values())
                best = [name for name, cell in row.cells.items() if cell.place == 1]
                beaten = [name for name, cell in row.cells.items() if cell.beaten_by]
                words = [f"best in {', '.join(best)}"] if best else []
                some = f"in {len(beaten)} of {count} metrics a baseline is better"
                words.append(some if beaten else f"no baseline is better in any of {count} metrics")
                lines.append(f"{row.label}: {'; '.join(words)}.")
        return lines

    def expected(self) -> str:
        """How the pairs compare with those of published tables; empty if that is not known."""
        if not self.data.card or not self.data.card.splits:
            return ""
        count = next(iter(self.data.card.splits.values())).pairs
        if len(self.images) == count:
            return ""
        return f"{len(self.images)} pairs here, {count} in published tables: not comparable."


def _demonstration(record: Record) -> bool:
    """Whether a record is of shipped weights that are not for comparison (docs/zoo.md)."""
    return bool(record.facts.get("trained")) and record.facts.get("model") != "cddfuse"


def tables(results: Results) -> list[Table]:
    """A table for each data set and variant; data sets without any record are left out."""
    return [
        table
        for data in results.plan.data
        for variant in TABLES
        if (table := _table(results, data, variant)) is not None
    ]


def _table(results: Results, data: DataSet, variant: str) -> Table | None:
    labels = [BASELINE.label, *(method.label for method in results.plan.methods)]
    records = {
        label: results.records[data.name, label]
        for label in labels
        if (data.name, label) in results.records
    }
    if not records:
        return None
    settings = results.settings
    chosen = [Column(*c) for c in columns(settings.metrics, settings.profile, data.task)]
    images = max((record.images for record in records.values()), key=len)
    images = list(dict.fromkeys([*images, *(x for r in records.values() for x in r.images)]))
    values = {}
    for label, record in records.items():
        for row, of in record.tables.get(variant, {}).items():
            name = row if label == BASELINE.label else label
            values[name] = {
                column.name: _placed(of[column.name], record.images, images) for column in chosen
            }
    ordered = {name: values[name] for name in [*labels, *BASELINES] if name in values}
    return Table(data, variant, chosen, images, ordered, records)


def _placed(values: Sequence[float], names: Sequence[str], images: Sequence[str]) -> list[float]:
    by_name = dict(zip(names, values, strict=True))
    return [by_name.get(name, math.nan) for name in images]


def number(value: float) -> str:
    """A mean as tables print it."""
    return "-" if math.isnan(value) else f"{value:.3f}" if abs(value) < 100 else f"{value:.1f}"


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
    cores = machine()["cores"] or 1
    loads = [cost.load for cost in results.costs.values()]
    if loads and max(loads) > cores:
        return [
            f"The machine was busy while costs were measured (load {max(loads):.1f} on {cores} "
            "cores): seconds are too high, and comparable only roughly."
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
    for (data, label), record in results.records.items():
        lines += [f"{data}: {note}" for note in record.notes]
        known = label == BASELINE.label or record.facts.get("trained")
        if record.facts.get("weights") and not known:
            lines.append(
                f"{label}: its training images are not known, so it was not checked whether "
                "the pairs here are among them."
            )
    return list(dict.fromkeys([*lines, *_busy(results)]))


def _cell_text(cell: Cell | None, bold: str, line: str, escape: Any) -> str:
    if cell is None or math.isnan(cell.summary.mean):
        return "-"
    text = escape(number(cell.summary.mean))
    return {1: bold, 2: line}.get(cell.place, "{}").format(text)


def as_markdown(results: Results) -> str:
    """All tables with their legend, and what is missing."""
    found = tables(results)
    blocks = ["# Benchmark", *compares(found), *legend(found)]
    for task, heading in TASKS.items():
        mine = [table for table in found if table.data.task == task]
        if mine:
            blocks += [f"## {heading}", *map(_markdown_table, mine)]
    if results.costs:
        blocks += ["## Cost", _markdown_costs(results)]
    blocks += [f"- {_plain(note)}" for note in notes(results, found)]
    if results.failures:
        failed = [f"- {_plain(f'{x.data}, {x.method}: {x.reason}')}" for x in results.failures]
        blocks += ["## Failed", "\n".join(failed)]
    return "\n\n".join(blocks) + "\n"


def _markdown_table(table: Table) -> str:
    heads = ["", "pairs", *(f"{c.name} {c.arrow}" for c in table.columns)]
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)]]
    for row in [*table.rows, *table.published]:
        cells = [_markdown_cell(row.cells.get(c.name), len(table.images)) for c in table.columns]
        count = str(row.images) if row.complete else f"{row.images} of {len(table.images)}"
        lines.append([_plain(row_label(row, table)), count, *cells])
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"**{_plain(caption(table))}**\n\n{body}"


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


def _markdown_cell(cell: Cell | None, total: int) -> str:
    text = _cell_text(cell, "**{}**", "<u>{}</u>", str)
    if cell is None or text == "-":
        return text
    letters = "".join(MARKS[name] for name in cell.beaten_by)
    text += f"<sup>{letters}</sup>" if letters else ""
    return text + (f" (n={total - cell.summary.undefined})" if cell.summary.undefined else "")


def _plain(text: str) -> str:
    """Text that Markdown and HTML leave as it is."""
    plain = " ".join(text.split()).replace("\\", "\\\\")
    for sign, other in {
        "&": "&amp;",
        "<": "&lt;",
        "|": r"\|",
        "*": r"\*",
        "`": r"\`",
        "[": r"\[",
    }.items():
        plain = plain.replace(sign, other)
    return plain


def _markdown_costs(results: Results) -> str:
    lines = [["method", *COST_HEADINGS], ["---", *["---:"] * len(COST_HEADINGS)]]
    lines += [[_plain(label), *cost_cells(cost)] for label, cost in results.costs.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


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


_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


def _tex(text: str) -> str:
    plain = "".join(
        f"\\{letter}" if letter in "&%$#_{}" else _SPECIAL.get(letter, letter)
        for letter in " ".join(text.split())
    )
    return (
        plain.replace("↑", r"$\uparrow$")
        .replace("↓", r"$\downarrow$")
        .replace("<", r"\textless{}")
        .replace(">", r"\textgreater{}")
    )


def as_latex(results: Results) -> str:
    """A table of the package booktabs for each data set, with the profile in the caption."""
    found = tables(results)
    blocks = [r"% \usepackage{booktabs}"]
    for table in found:
        heads = " & ".join(["", "pairs", *(_tex(f"{c.name} {c.arrow}") for c in table.columns)])
        lines = [
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{_tex(caption(table))}. {_tex(' '.join(legend([table])))}}}",
            rf"  \begin{{tabular}}{{l{'r' * (len(table.columns) + 1)}}}",
            r"    \toprule",
            rf"    {heads} \\",
        ]
        last = ""
        for row in [*table.rows, *table.published]:
            if row.kind != last:
                lines.append(r"    \midrule")
                last = row.kind
            cells = [_latex_cell(row.cells.get(c.name), len(table.images)) for c in table.columns]
            lines.append(
                f"    {' & '.join([_tex(row_label(row, table)), str(row.images), *cells])} \\\\"
            )
        lines += [r"    \bottomrule", r"  \end{tabular}", r"\end{table}"]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def _latex_cell(cell: Cell | None, total: int) -> str:
    text = _cell_text(cell, r"\textbf{{{}}}", r"\underline{{{}}}", str)
    if cell is None or text == "-":
        return "--"
    letters = "".join(MARKS[name] for name in cell.beaten_by)
    text += rf"$^{{\mathrm{{{letters}}}}}$" if letters else ""
    return text + (f" ({total - cell.summary.undefined})" if cell.summary.undefined else "")


def as_csv(results: Results) -> str:
    """A row for each image and metric, of each method and variant. Undefined is nan."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["data", "variant", "method", "image", "metric", "profile", "value"])
    for table in tables(results):
        for label, of in table.values.items():
            for column in table.columns:
                for name, value in zip(table.images, of[column.name], strict=True):
                    line = [table.data.name, table.variant, label, name, column.name]
                    writer.writerow([*line, column.profile, repr(value)])
    return text.getvalue()


def as_json(results: Results, about: Mapping[str, Any]) -> str:
    """Everything but the values per image: means with intervals, tests, ranks, cost, provenance."""
    found = tables(results)
    reference = about.get("reference")
    content = {
        **about,
        "tables": [_json_table(table, reference) for table in found],
        "costs": {label: asdict(cost) for label, cost in results.costs.items()},
        "cells": [
            {"data": data, "method": label, "key": record.key, **record.facts}
            for (data, label), record in results.records.items()
        ],
        "notes": notes(results, found),
        "failures": [failure._asdict() for failure in results.failures],
    }
    return json.dumps(_valid(content), indent=2, allow_nan=False) + "\n"


def _json_table(table: Table, reference: Any) -> dict[str, Any]:
    tests = table.against(reference) if reference else {}
    return {
        "data": table.data.name,
        "task": table.data.task,
        "variant": table.variant,
        "pairs": len(table.images),
        "metrics": {
            c.name: {"profile": c.profile, "better": c.metric.better} for c in table.columns
        },
        "rows": [
            {
                "label": row.label,
                "kind": row.kind,
                "pairs": row.images,
                "trained": row.trained,
                "cells": {name: asdict(cell) for name, cell in row.cells.items()},
                "against_reference": {n: asdict(t) for n, t in tests.get(row.label, {}).items()},
            }
            for row in [*table.rows, *table.published]
        ],
        "ranks": {name: asdict(ranks) for name, ranks in table.ranks.items()},
    }


def _valid(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _valid(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_valid(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
