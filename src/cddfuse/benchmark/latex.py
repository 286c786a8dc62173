"""Tables of a benchmark as LaTeX, for the package booktabs."""

from collections.abc import Iterable, Mapping, Sequence

from cddfuse.benchmark.captions import (
    COST_HEADINGS,
    MARKS,
    NO_COLUMNS,
    TASKS,
    caption,
    cell_text,
    cost_cells,
    legend,
    notes,
    row_digits,
    row_label,
)
from cddfuse.benchmark.suite import Results
from cddfuse.benchmark.tables import Cell, Table, tables
from cddfuse.evaluate.latex import escaped

PREAMBLE = r"% \usepackage{booktabs}"
_MIDRULE = r"    \midrule"


def as_latex(results: Results) -> str:
    """A table for each data set, with the profile in the caption; costs, and what to know."""
    found = tables(results)
    blocks = [PREAMBLE]
    for task, heading in TASKS.items():
        mine = [table for table in found if table.data.task == task]
        if mine:
            blocks += [f"% {heading}", *map(table_latex, mine)]
    if results.costs:
        blocks.append(_costs(results))
    failed = [f"{each.data}, {each.method}: {each.reason}" for each in results.failures]
    said = [*notes(results, found), *(f"Failed: {reason}" for reason in failed)]
    blocks += [rf"\noindent {{\footnotesize {escaped(text)}\par}}" for text in said]
    return "\n\n".join(blocks) + "\n"


def _costs(results: Results) -> str:
    rows = [
        _row([escaped(label), *map(escaped, cost_cells(cost))])
        for label, cost in results.costs.items()
    ]
    columns = "l" + "r" * len(COST_HEADINGS)
    text = "What fusing a pair of 640x480 takes."
    return _table(text, "cost", columns, ["", *COST_HEADINGS], [_MIDRULE, *rows])


def _table(text: str, label: str, columns: str, heads: Sequence[str], lines: Sequence[str]) -> str:
    """A table of lines, with its caption in LaTeX."""
    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{text}}}",
            rf"  \label{{tab:{label}}}",
            rf"  \begin{{tabular}}{{{columns}}}",
            r"    \toprule",
            _row(map(escaped, heads)),
            *lines,
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
        ]
    )


def _row(cells: Iterable[str]) -> str:
    return f"    {' & '.join(cells)} \\\\"


def table_latex(table: Table, more: Mapping[str, Sequence[str]] = NO_COLUMNS) -> str:
    """One table; arguments as for `cddfuse.benchmark.markdown.table_markdown`."""
    between = more.get("", ())
    heads = ["", *between, "pairs", *(f"{c.name} {c.arrow}" for c in table.columns)]
    lines: list[str] = []
    last = ""
    for row in [*table.rows, *table.published]:
        if row.kind != last:
            lines.append(_MIDRULE)
            last = row.kind
        digits = row_digits(row, table)
        cells = [
            _cell(row.cells.get(c.name), len(table.images), digits[c.name]) for c in table.columns
        ]
        words = [row_label(row, table), *more.get(row.label, [""] * len(between))]
        words.append(str(row.images or "-"))
        lines.append(_row([*map(escaped, words), *cells]))
    text = " ".join([f"{escaped(caption(table))}.", *map(_sign, legend([table]))])
    columns = "l" + "l" * len(between) + "r" * (len(table.columns) + 1)
    label = f"{_anchor(table.data.name)}-{table.variant}"
    return _table(text, label, columns, heads, lines)


def _sign(line: str) -> str:
    """A line of the legend, with the signs of LaTeX."""
    return escaped(line.replace("-: ", "--: ", 1) if line.startswith("-: ") else line)


def _anchor(name: str) -> str:
    return "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name)


def _cell(cell: Cell | None, total: int, digits: int) -> str:
    text = cell_text(cell, r"\textbf{{{}}}", r"\underline{{{}}}", digits)
    if cell is None or text == "-":
        return "--"
    letters = "".join(MARKS[name] for name in cell.beaten_by)
    text += rf"$^{{\mathrm{{{letters}}}}}$" if letters else ""
    return text + (f" ($n$={total - cell.summary.undefined})" if cell.summary.undefined else "")
