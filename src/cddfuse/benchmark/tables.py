"""The tables of a benchmark: rows, cells, places, and which baselines beat a cell."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from cddfuse.benchmark import statistics
from cddfuse.benchmark.cells import BASELINE, TABLES, Record
from cddfuse.benchmark.plan import DataSet, columns
from cddfuse.benchmark.published import published_rows
from cddfuse.benchmark.statistics import Paired, Ranks
from cddfuse.benchmark.suite import Results
from cddfuse.evaluate import BASELINES, Summary
from cddfuse.metrics import PAPER_EIGHT, Metric
from cddfuse.models import MODELS

_EQUAL = 1e-9  # relative; less is rounding


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
    """Number of pairs that were scored; 0 where it is not known."""

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

    given: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """More published rows, by label."""

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
        if self.variant != "stretched":
            return []
        card, known = self.data.card, {}
        if card:
            facts = [record.facts for record in self.records.values()]
            models = [str(fact["model"]) for fact in facts if "model" in fact]
            known = published_rows(["cddfuse", *models], card.name)
        count = next(iter(card.splits.values())).pairs if card and card.splits else 0
        return [
            Row(label, "published", self._published_cells(values), count)
            for label, values in {**known, **self.given}.items()
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
            # Of two methods, nothing is second that is not also last; after two best, none is.
            several = sum(map(len, ranked)) > 2 and len(ranked[0]) == 1
            shown = 2 if several else 1
            place = next((i + 1 for i, names in enumerate(ranked[:shown]) if label in names), 0)
        return Cell(summary, place, self._beaten(label, column))

    @cached_property
    def summaries(self) -> dict[str, dict[str, Summary]]:
        """Statistics by row and metric."""
        return {
            label: {name: statistics.summary(column, self.scenes) for name, column in of.items()}
            for label, of in self.values.items()
        }

    def digits(self, column: Column) -> int:
        """Decimals that tell the means of a column apart: three digits of the largest, or more."""
        means = [abs(of[column.name].mean) for of in self.summaries.values()]
        largest = max((x for x in means if math.isfinite(x) and x > 0), default=1.0)
        return max(3, min(8, 2 - math.floor(math.log10(largest))))

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
    model = str(record.facts.get("model"))
    of_others = model != "cddfuse" and model in MODELS and MODELS[model].card.paper
    return bool(record.facts.get("trained") and of_others)


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
    given = results.plan.published.get(data.name, {})
    return Table(data, variant, chosen, images, ordered, records, given)


def _placed(values: Sequence[float], names: Sequence[str], images: Sequence[str]) -> list[float]:
    by_name = dict(zip(names, values, strict=True))
    return [by_name.get(name, math.nan) for name in images]
