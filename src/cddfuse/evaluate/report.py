"""Scores as text: a table for the terminal, CSV, Markdown, LaTeX and JSON."""

import csv
import io
import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cddfuse.errors import InputError
from cddfuse.evaluate.scores import TRIVIAL, Scores, Summary
from cddfuse.io import replacing
from cddfuse.metrics import Metric

HEADINGS = ("metric", "fused", "deviation", "95 % of the mean", *TRIVIAL)

_TABLES = {
    "stretched": "the published protocol: each image stretched to 0..255, 8 bit",
    "plain": "the same images without the stretch, 8 bit",
    "saved": "the files as saved, 8 bit",
}
_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


def title(scores: Scores, table: str) -> str:
    """What a table shows."""
    count = len(scores.images)
    images = "1 image" if count == 1 else f"{count} images"
    return f"{scores.method}, {images}, {_TABLES[table]}"


def profile(scores: Scores) -> str:
    """Which dialect the numbers are in."""
    return f"Profile {scores.profile}. {scores.compares}"


def legend(scores: Scores) -> list[str]:
    """What the signs in the tables mean, as far as they occur."""
    cells = [cell for table in scores.tables for line in lines(scores, table) for cell in line]
    notes = {
        "*": "* beats the method: a copy of a source, the mean or the maximum of both.",
        "undef.": "undef.: images where the metric is 0/0 or the like; means leave them out.",
    }
    return [note for sign, note in notes.items() if any(sign in cell for cell in cells)]


def lines(scores: Scores, table: str) -> list[list[str]]:
    """The cells of a table under `HEADINGS`, a line for each metric."""
    return [_line(scores, table, metric) for metric in scores.metrics]


def _line(scores: Scores, table: str, metric: Metric) -> list[str]:
    summaries = {row: values[metric.name] for row, values in scores.summaries[table].items()}
    fused = summaries["fused"]
    arrow = "↑" if metric.better == "higher" else "↓"
    interval = f"{_number(fused.low)} to {_number(fused.high)}"
    trivial = [
        _mean(summaries[row]) + (" *" if scores.beats(table, row, metric) else "")
        for row in TRIVIAL
    ]
    return [
        f"{metric.name} {arrow}",
        _mean(fused),
        _number(fused.deviation),
        "-" if math.isnan(fused.low) else interval,
        *trivial,
    ]


def _mean(summary: Summary) -> str:
    missing = f" ({summary.undefined} undef.)" if summary.undefined else ""
    return _number(summary.mean) + missing


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def as_csv(scores: Scores) -> str:
    """Every value: a line for each table, row and image. Undefined is nan."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["table", "row", "image", *(metric.name for metric in scores.metrics)])
    for table, of_rows in scores.tables.items():
        for row, values in of_rows.items():
            for index, image in enumerate(scores.images):
                numbers = (repr(column[index]) for column in values.values())
                writer.writerow([table, row, image, *numbers])
    return text.getvalue()


def as_markdown(scores: Scores) -> str:
    """The tables, and what was left out."""
    blocks = [f"# Scores of {scores.method}", profile(scores)]
    for table in scores.tables:
        head = [HEADINGS, ["---", *["---:"] * (len(HEADINGS) - 1)]]
        body = [*head, *lines(scores, table)]
        cells = [[cell.replace("*", r"\*").replace("|", r"\|") for cell in line] for line in body]
        blocks.append(f"{title(scores, table)}:")
        blocks.append("\n".join(f"| {' | '.join(line)} |" for line in cells))
    blocks += [note.replace("*", r"\*") for note in legend(scores)]
    problems = [f"- {problem}" for problem in left_out(scores)]
    if problems:
        blocks.append("\n".join(["Left out:", "", *problems]))
    return "\n\n".join(blocks) + "\n"


def as_latex(scores: Scores) -> str:
    """A plain tabular for each table, with the profile as a comment."""
    blocks = []
    for table in scores.tables:
        head = [f"% {title(scores, table)}", f"% {profile(scores)}"]
        rows = [f"{' & '.join(map(_escaped, line))} \\\\" for line in lines(scores, table)]
        heading = f"{' & '.join(map(_escaped, HEADINGS))} \\\\"
        columns = "l" + "r" * (len(HEADINGS) - 1)
        body = [f"\\begin{{tabular}}{{{columns}}}", r"\hline", heading, r"\hline", *rows, r"\hline"]
        blocks.append("\n".join([*(" ".join(line.split()) for line in head), *body]))
    return "\n\\end{tabular}\n\n".join(blocks) + "\n\\end{tabular}\n"


def _escaped(text: str) -> str:
    plain = "".join(
        f"\\{letter}" if letter in "&%$#_{}" else _SPECIAL.get(letter, letter) for letter in text
    )
    return plain.replace("↑", r"$\uparrow$").replace("↓", r"$\downarrow$")


def as_json(scores: Scores) -> str:
    """The summary, to full precision. Undefined is null."""
    tables = {
        table: {
            row: {
                metric.name: {
                    **{key: _valid(value) for key, value in asdict(of[metric.name]).items()},
                    **({"beats": scores.beats(table, row, metric)} if row in TRIVIAL else {}),
                }
                for metric in scores.metrics
            }
            for row, of in rows.items()
        }
        for table, rows in scores.summaries.items()
    }
    summary = {
        "method": scores.method,
        "profile": scores.profile,
        "compares": scores.compares,
        "images": len(scores.images),
        "better": {metric.name: metric.better for metric in scores.metrics},
        "tables": tables,
        "failed": scores.failed,
        "missing": scores.missing,
        "unmatched": [str(path) for path in scores.unmatched],
        "skipped": {str(path): reason for path, reason, _ in scores.skipped},
    }
    return json.dumps(summary, indent=2, allow_nan=False)


def _valid(value: Any) -> Any:
    """JSON knows no NaN and no infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def left_out(scores: Scores) -> list[str]:
    """A line for each pair or file that is not in the tables."""
    return [
        *(f"no partner: {path}" for path in scores.unmatched),
        *(f"{reason}: {path}" for path, reason, _ in scores.skipped),
        *(f"no result: {name}" for name in scores.missing),
        *(f"failed: {name}: {reason}" for name, reason in scores.failed.items()),
    ]


FILES: dict[str, Callable[[Scores], str]] = {
    "per_image.csv": as_csv,
    "summary.md": as_markdown,
    "summary.tex": as_latex,
    "summary.json": as_json,
}


def write_report(scores: Scores, folder: Path, *, overwrite: bool = False) -> None:
    """Write the `FILES`, each of them whole or not at all."""
    require_place(folder, overwrite=overwrite)
    for name, text in FILES.items():
        with replacing(folder / name) as temporary:
            temporary.write_text(text(scores), encoding="utf-8")


def require_place(folder: Path, *, overwrite: bool = False) -> None:
    """Find out before the work whether the report may be written."""
    place = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not os.path.isdir(place):
        raise InputError(f"{place} is no folder: name one for the report with -o.")
    if not os.access(place, os.W_OK):
        raise InputError(f"{place} may not be written to: choose another folder with -o.")
    for name in FILES:
        if os.path.lexists(folder / name) and not overwrite:
            raise InputError(
                f"{folder / name} exists already: choose another folder, or --overwrite to "
                "replace it."
            )
