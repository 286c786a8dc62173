"""Tables of a benchmark as LaTeX, for the package booktabs."""

from cddfuse.benchmark.captions import MARKS, caption, cell_text, legend, row_label
from cddfuse.benchmark.suite import Results
from cddfuse.benchmark.tables import Cell, tables

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
    text = cell_text(cell, r"\textbf{{{}}}", r"\underline{{{}}}")
    if cell is None or text == "-":
        return "--"
    letters = "".join(MARKS[name] for name in cell.beaten_by)
    text += rf"$^{{\mathrm{{{letters}}}}}$" if letters else ""
    return text + (f" ({total - cell.summary.undefined})" if cell.summary.undefined else "")
