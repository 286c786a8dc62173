"""Tables of a benchmark as Markdown."""

from cddfuse.benchmark.captions import (
    COST_HEADINGS,
    MARKS,
    TASKS,
    caption,
    cell_text,
    compares,
    cost_cells,
    legend,
    notes,
    row_label,
)
from cddfuse.benchmark.suite import Results
from cddfuse.benchmark.tables import Cell, Table, tables


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


def _markdown_cell(cell: Cell | None, total: int) -> str:
    text = cell_text(cell, "**{}**", "<u>{}</u>")
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
