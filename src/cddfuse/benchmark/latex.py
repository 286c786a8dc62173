"""Tables of a benchmark as LaTeX, for the package booktabs."""

from collections.abc import Mapping, Sequence

from cddfuse.benchmark.captions import (
    MARKS,
    NO_COLUMNS,
    caption,
    cell_text,
    legend,
    row_label,
)
from cddfuse.benchmark.suite import Results
from cddfuse.benchmark.tables import Cell, Table, tables

PREAMBLE = r"% \usepackage{booktabs}"
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
    """A table for each data set, with the profile in the caption."""
    return "\n\n".join([PREAMBLE, *map(table_latex, tables(results))]) + "\n"


def table_latex(table: Table, more: Mapping[str, Sequence[str]] = NO_COLUMNS) -> str:
    """One table; arguments as for `cddfuse.benchmark.markdown.table_markdown`."""
    between = more.get("", ())
    heads = ["", *between, "pairs", *(f"{c.name} {c.arrow}" for c in table.columns)]
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{_tex(caption(table))}. {_tex(' '.join(legend([table])))}}}",
        rf"  \begin{{tabular}}{{l{'l' * len(between)}{'r' * (len(table.columns) + 1)}}}",
        r"    \toprule",
        rf"    {' & '.join(map(_tex, heads))} \\",
    ]
    last = ""
    for row in [*table.rows, *table.published]:
        if row.kind != last:
            lines.append(r"    \midrule")
            last = row.kind
        cells = [_cell(row.cells.get(c.name), len(table.images)) for c in table.columns]
        words = [row_label(row, table), *more.get(row.label, [""] * len(between))]
        words.append(str(row.images or "-"))
        lines.append(f"    {' & '.join([*map(_tex, words), *cells])} \\\\")
    lines += [r"    \bottomrule", r"  \end{tabular}", r"\end{table}"]
    return "\n".join(lines)


def _cell(cell: Cell | None, total: int) -> str:
    text = cell_text(cell, r"\textbf{{{}}}", r"\underline{{{}}}")
    if cell is None or text == "-":
        return "--"
    letters = "".join(MARKS[name] for name in cell.beaten_by)
    text += rf"$^{{\mathrm{{{letters}}}}}$" if letters else ""
    return text + (f" ({total - cell.summary.undefined})" if cell.summary.undefined else "")
