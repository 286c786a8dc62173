"""Tables in the layout of the published two: a row for each input, a column for each class.

Numbers are percent. The best row is bold; a row is only called better than the single sources if
both intervals of its difference to the better one, over seeds and over images, are above 0.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from cddfuse.downstream.published import ROWS
from cddfuse.downstream.statistics import Estimate, Interval, Scored, better_source
from cddfuse.downstream.suite import Results
from cddfuse.downstream.tasks import TASKS
from cddfuse.evaluate.latex import escaped
from cddfuse.evaluate.plain import plain

FLAG = "not above the best single source"
TITLES = {"detect": "Detection", "segment": "Segmentation"}
_FEW = 3  # seeds below which their spread says little
_SOURCES = ("vi", "ir")


@dataclass(frozen=True)
class Row:
    """One input."""

    label: str
    classes: Sequence[float]
    """Means over seeds; empty for published rows."""

    mean: Estimate
    """Over classes."""

    difference: Estimate | None = None
    """To the better single source; None for the sources themselves, and without any."""

    published: bool = False

    @property
    def flag(self) -> str:
        """What has to be said of the row; empty if it is above both sources, or is one."""
        if self.difference is None:
            return ""
        known = self.difference.seeds.known and self.difference.images.known
        return "" if known and self.difference.positive else FLAG


@dataclass(frozen=True)
class Table:
    """One measure."""

    measure: str
    classes: Sequence[str]
    scored: Mapping[str, Scored]
    """By label of the input."""

    card: str
    """Name of the data set, if it has a card."""

    @cached_property
    def reference(self) -> str | None:
        """The better single source, by the mean over classes."""
        return better_source(self.scored)

    @cached_property
    def rows(self) -> list[Row]:
        """Inputs in order, then published figures."""
        rows = [self._row(label) for label in self.scored]
        nothing = Interval()
        for label, value in ROWS.get((self.card, self.measure), {}).items():
            estimate = Estimate(value, math.nan, nothing, nothing)
            rows.append(Row(f"{label} (published)", (), estimate, published=True))
        return rows

    def _row(self, label: str) -> Row:
        mine = self.scored[label]
        means = [mine.estimate(index).mean for index in range(len(self.classes))]
        difference = None
        if self.reference is not None and label not in _SOURCES:
            difference = mine.less(self.scored[self.reference])
        return Row(label, means, mine.estimate(), difference)

    @cached_property
    def best(self) -> list[str | None]:
        """Label of the best row of each column, the mean last; None if there is no single one."""
        rows = [row for row in self.rows if not row.published]
        if len(rows) < 2:
            return [None] * (len(self.classes) + 1)
        columns = [[row.classes[index] for row in rows] for index in range(len(self.classes))]
        columns.append([row.mean.mean for row in rows])
        places = [_best(column) for column in columns]
        return [None if place is None else rows[place].label for place in places]


def _best(values: Sequence[float]) -> int | None:
    """Place of the highest value; None if another is as high."""
    known = [value for value in values if not math.isnan(value)]
    highest = max(known, default=math.nan)
    return values.index(highest) if known.count(highest) == 1 else None


def tables(results: Results) -> list[Table]:
    """A table for each measure."""
    card = results.labelled.card
    return [
        Table(
            measure,
            results.labelled.classes.kept,
            {label: row[measure] for label, row in results.rows.items()},
            card.name if card else "",
        )
        for measure in TASKS[results.plan.task].measures
    ]


def percent(value: float) -> str:
    """As tables print it."""
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def _signed(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:+.1f}"


def _interval(interval: Interval, show: Any = percent) -> str:
    return f"{show(interval.low)} to {show(interval.high)}" if interval.known else "-"


def caption(results: Results, table: Table) -> str:
    """What a table shows, in one line."""
    plan, parts = results.plan, results.labelled.partition
    how = f"{plan.instrument}, "
    if plan.protocol == "frozen":
        how += f"frozen, trained on {' and '.join(plan.train_on)} together"
    else:
        how += "trained anew for each row"
    steps = f"{results.training.steps} steps of {results.training.batch} images"
    count = f"{plan.seeds} seed" + ("s" if plan.seeds > 1 else "")
    pretrained = f", backbone {plan.backbone.name}" if plan.backbone else ""
    return (
        f"{TITLES[plan.task]} on {results.labelled.title}: {table.measure}, percent; {how}, "
        f"{steps}, longer side {plan.side}{pretrained}, {count}; {len(parts.train)} images to "
        f"train on, {len(parts.test)} to test on ({parts.name}, {parts.digest[:12]})"
    )


def notes(results: Results) -> list[str]:
    """What has to be known to read the tables: sentences."""
    plan, labelled = results.plan, results.labelled
    test = labelled.partition.test
    scenes = len({labelled.scenes[name] for name in test})
    lines = [
        "Seeds: 95 % interval of the mean over trainings (Student's t). Images: 95 % bootstrap "
        f"over the {scenes} scenes of the {len(test)} test images. The first says whether training "
        "again would change the order, the second whether other images would.",
        "Difference: to the better of vi and ir, seed by seed and on the same images. Unless both "
        f'of its intervals are above 0, the row is "{FLAG}".',
    ]
    if plan.seeds < _FEW:
        count = "1 seed is" if plan.seeds == 1 else f"{plan.seeds} seeds are"
        lines.append(f"{count} too few to tell rows apart: use 5.")
    if scenes < 10:
        count = "1 test scene is" if scenes == 1 else f"{scenes} test scenes are"
        lines.append(f"{count} too few to say anything of other images.")
    if not set(_SOURCES) <= set(results.rows):
        lines.append("vi and ir are not both here, so rows are not compared with the better.")
    if any(table.card and (table.card, table.measure) in ROWS for table in tables(results)):
        lines.append(
            "Published: figures of the paper of CDDFuse, by another instrument, recipe and split, "
            "none of which was published; not measured here."
        )
    return [*lines, *results.notes]


def findings(table: Table) -> list[str]:
    """What a table shows, in sentences."""
    rows = [row for row in table.rows if not row.published]
    lines = []
    if len(rows) > 1 and (best := table.best[-1]):
        lines.append(f"{table.measure}: {best} has the highest mean.")
    fused = [row for row in rows if row.difference is not None]
    above = [row.label for row in fused if not row.flag]
    if fused and table.reference:
        what = f"the better single source, {table.reference}"
        lines.append(
            f"{table.measure}: above {what}: {', '.join(above)}."
            if above
            else f"{table.measure}: no row is shown to be above {what}."
        )
    if table.reference:
        alone = [
            name for name, best in zip(table.classes, table.best, strict=False) if best in _SOURCES
        ]
        if alone:
            lines.append(f"{table.measure}: a single source is best for {', '.join(alone)}.")
    return lines


def as_markdown(results: Results) -> str:
    """All tables, what they show and how to read them."""
    blocks = [f"# {TITLES[results.plan.task]}"]
    for table in tables(results):
        blocks += [f"**{_plain(caption(results, table))}**", _markdown(table)]
        blocks += [_markdown_intervals(table)]
        blocks += ["\n".join(f"- {_plain(line)}" for line in findings(table))]
    blocks += ["\n".join(f"- {_plain(note)}" for note in notes(results))]
    if results.failures:
        failed = [f"- {_plain(f'{each.label}: {each.reason}')}" for each in results.failures]
        blocks += ["## Failed", "\n".join(failed)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _markdown(table: Table) -> str:
    heads = ["", *map(_plain, table.classes), "mean"]
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)]]
    lines += [[_plain(row.label), *_cells(table, row, "**{}**")] for row in table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(table: Table, row: Row, bold: str) -> list[str]:
    values = [*(row.classes or [math.nan] * len(table.classes)), row.mean.mean]
    return [
        bold.format(percent(value)) if best == row.label else percent(value)
        for value, best in zip(values, table.best, strict=True)
    ]


def _markdown_intervals(table: Table) -> str:
    against = f"difference to {table.reference}" if table.reference else "difference"
    heads = ["mean over classes", "", "seeds", "images", against, "seeds", "images", ""]
    lines = [heads, ["---", *["---:"] * 6, "---"]]
    for row in table.rows:
        if row.published:
            continue
        cells = [percent(row.mean.mean), _interval(row.mean.seeds), _interval(row.mean.images)]
        other = row.difference
        cells += (
            [_signed(other.mean), _interval(other.seeds, _signed), _interval(other.images, _signed)]
            if other
            else ["-"] * 3
        )
        lines.append([_plain(row.label), *cells, row.flag])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(text: str) -> str:
    """Text that Markdown and HTML leave as it is."""
    signs = {"&": "&amp;", "<": "&lt;", "|": r"\|", "*": r"\*", "`": r"\`", "[": r"\["}
    return "".join(signs.get(sign, sign) for sign in " ".join(text.split()).replace("\\", "\\\\"))


def as_latex(results: Results) -> str:
    """A table of the package booktabs for each measure; a star is above both single sources."""
    blocks = [r"% \usepackage{booktabs}"]
    for table in tables(results):
        star = "$^{*}$: above the better single source over seeds and over images."
        lines = [
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{escaped(caption(results, table))}. {star}}}",
            rf"  \begin{{tabular}}{{l{'r' * (len(table.classes) + 1)}}}",
            r"    \toprule",
            rf"    & {' & '.join([*map(escaped, table.classes), 'mean'])} \\",
            r"    \midrule",
        ]
        published = False
        for row in table.rows:
            if row.published and not published:
                lines.append(r"    \midrule")
                published = True
            cells = [cell.replace("-", "--") for cell in _cells(table, row, r"\textbf{{{}}}")]
            if row.difference is not None and not row.flag:
                cells[-1] += "$^{*}$"
            lines.append(f"    {' & '.join([escaped(row.label), *cells])} \\\\")
        lines += [r"    \bottomrule", r"  \end{tabular}", r"\end{table}"]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def as_json(results: Results, about: Mapping[str, Any]) -> str:
    """Everything: scores of each seed and class, intervals, provenance."""
    plan, labelled = results.plan, results.labelled
    content = {
        **about,
        "task": plan.task,
        "instrument": plan.instrument,
        "protocol": plan.protocol,
        "train_on": list(plan.train_on) if plan.protocol == "frozen" else None,
        "seeds": plan.seeds,
        "training": asdict(results.training),
        "data": labelled.title,
        "card": labelled.card.name if labelled.card else None,
        "classes": list(labelled.classes.kept),
        "split": {
            "name": labelled.partition.name,
            "sha256": labelled.partition.digest,
            **{part: len(getattr(labelled.partition, part)) for part in ("train", "val", "test")},
        },
        "tables": [_json_table(results, table) for table in tables(results)],
        "inputs": {label: dict(row.facts) for label, row in results.prepared.items()},
        "seconds": results.seconds,
        "facts": results.facts,
        "notes": notes(results),
        "failures": [failure._asdict() for failure in results.failures],
    }
    return json.dumps(plain(content), indent=2, allow_nan=False) + "\n"


def _json_table(results: Results, table: Table) -> dict[str, Any]:
    return {
        "measure": table.measure,
        "caption": caption(results, table),
        "findings": findings(table),
        "reference": table.reference,
        "rows": [
            {
                "label": row.label,
                "published": row.published,
                "classes": dict(zip(table.classes, row.classes, strict=bool(row.classes))),
                "mean": asdict(row.mean),
                "difference": asdict(row.difference) if row.difference else None,
                "flag": row.flag,
                "seeds": table.scored[row.label].values.tolist() if row.classes else [],
            }
            for row in table.rows
        ],
    }
