"""Tables of a benchmark as Markdown."""

from collections.abc import Mapping, Sequence

from cddfuse.benchmark.captions import (
    COST_HEADINGS,
    MARKS,
    NO_COLUMNS,
    TASKS,
    caption,
    cell_text,
    compares,
    cost_cells,
    difference_text,
    legend,
    notes,
    row_digits,
    row_label,
)
from cddfuse.benchmark.statistics import ALPHA, Paired
from cddfuse.benchmark.suite import Results
from cddfuse.benchmark.tables import Cell, Column, Table, tables


def as_markdown(results: Results) -> str:
    """All tables with their legend, and what is missing."""
    found = tables(results)
    blocks = ["# Benchmark", *compares(found), *legend(found)]
    for task, heading in TASKS.items():
        mine = [table for table in found if table.data.task == task]
        if mine:
            blocks += [f"## {heading}", *map(table_markdown, mine)]
    if results.costs:
        blocks += ["## Cost", costs_markdown(results)]
    blocks += [f"- {plain(note)}" for note in notes(results, found)]
    if results.failures:
        failed = [f"- {plain(f'{x.data}, {x.method}: {x.reason}')}" for x in results.failures]
        blocks += ["## Failed", "\n".join(failed)]
    return "\n\n".join(blocks) + "\n"


def table_markdown(table: Table, more: Mapping[str, Sequence[str]] = NO_COLUMNS) -> str:
    """A table with its caption.

    Args:
        table: the rows.
        more: cells between the name of a row and its number of pairs, by label; "" is the heading.
    """
    heads = ["", *more.get("", ()), "pairs", *(f"{c.name} {c.arrow}" for c in table.columns)]
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)]]
    for row in [*table.rows, *table.published]:
        digits = row_digits(row, table)
        cells = [
            _cell(row.cells.get(c.name), len(table.images), digits[c.name]) for c in table.columns
        ]
        count = str(row.images or "-") if row.complete else f"{row.images} of {len(table.images)}"
        between = more.get(row.label, [""] * len(more.get("", ())))
        lines.append([plain(row_label(row, table)), *map(plain, between), count, *cells])
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"**{plain(caption(table))}**\n\n{body}"


def differences_markdown(table: Table, reference: str) -> str:
    """Mean differences of all other methods from one, with their tests; empty without both."""
    tests = table.against(reference)
    rows = [(label, tests[label]) for label in table.methods if label in tests]
    if not rows:
        return ""
    heads = ["", *(column.name for column in table.columns)]
    lines = [heads, ["---", *["---:"] * len(table.columns)]]
    for label, of in rows:
        cells = (_difference(of[c.name], c, table.digits(c)) for c in table.columns)
        lines.append([plain(label), *cells])
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return (
        f"Difference from {plain(reference)}, mean over the pairs. Better or worse: p < {ALPHA}, "
        "two-sided Wilcoxon signed-rank test, Holm's correction over all other rows and metrics."
        f"\n\n{body}"
    )


def _difference(test: Paired, column: Column, digits: int) -> str:
    if test.identical or not test.images:
        return "identical" if test.identical else "-"
    text = difference_text(test.difference, digits)
    if not test.adjusted < ALPHA:
        return text
    higher = test.difference > 0
    return f"{text} {'better' if higher == (column.metric.better == 'higher') else 'worse'}"


def _cell(cell: Cell | None, total: int, digits: int) -> str:
    text = cell_text(cell, "**{}**", "<u>{}</u>", digits)
    if cell is None or text == "-":
        return text
    letters = "".join(MARKS[name] for name in cell.beaten_by)
    text += f"<sup>{letters}</sup>" if letters else ""
    return text + (f" (n={total - cell.summary.undefined})" if cell.summary.undefined else "")


def plain(text: str) -> str:
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


def costs_markdown(results: Results) -> str:
    """What each network takes."""
    lines = [["method", *COST_HEADINGS], ["---", *["---:"] * len(COST_HEADINGS)]]
    lines += [[plain(label), *cost_cells(cost)] for label, cost in results.costs.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
