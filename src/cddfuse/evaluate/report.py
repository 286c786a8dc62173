"""Scores as text: a table for the terminal, CSV, Markdown, LaTeX and JSON."""

import csv
import io
import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict
from itertools import compress
from pathlib import Path

from cddfuse.errors import InputError, some_of
from cddfuse.evaluate.latex import escaped
from cddfuse.evaluate.plain import plain
from cddfuse.evaluate.scores import BASELINES, Scores, Summary
from cddfuse.io import Skipped, replacing
from cddfuse.metrics import Metric

HEADINGS = ("metric", "fused", "std. dev.", "95 % CI of mean", *BASELINES)

_TABLES = {
    "stretched": "the published protocol: each image stretched to 0..255, 8 bit",
    "plain": "the same images without the stretch, 8 bit",
    "saved": "the files as saved, 8 bit",
}


def title(scores: Scores, table: str) -> str:
    """What a table shows."""
    return f"{scores.method}, {_count(len(scores.images), 'image')}, {_TABLES[table]}"


def profile(scores: Scores) -> str:
    """The implementations that the numbers are of, and what they are comparable with."""
    own = f" Not of this profile: {', '.join(scores.own)}." if scores.own else ""
    return f"Profile {scores.profile}. {scores.compares}{own}"


def legend(scores: Scores) -> list[str]:
    """What the signs in the tables mean, as far as they occur."""
    cells = [cell for table in scores.tables for line in lines(scores, table) for cell in line]
    signs = {
        "*": "* better than the method: a source as it is, the mean or the maximum of both.",
        "undef.": "undef.: images for which the metric is undefined; means leave them out.",
    }
    return [meaning for sign, meaning in signs.items() if any(sign in cell for cell in cells)]


def notes(scores: Scores) -> list[str]:
    """What the numbers depend on beside the protocol, and what looks wrong: sentences."""
    return [*scores.notes, *_sizes(scores), *_too_small(scores), *_blank(scores)]


def _sizes(scores: Scores) -> list[str]:
    changes = {
        "resize": "resized to the size of the sources, which changes sharpness and noise, and so "
        "most metrics.",
        "crop": "scored against the centre of the sources, cropped to the size of the result.",
    }
    found = []
    for fit, change in changes.items():
        names = list(compress(scores.images, (facts.fit == fit for facts in scores.facts)))
        if names:
            found.append(f"{_results(names, 'was', 'were')} {change}")
    return found


def _too_small(scores: Scores) -> list[str]:
    total = len(scores.facts)
    return [
        f"{metric.name} is over {covered} of {_count(total, 'image')}, for it needs at least "
        f"{metric.smallest} x {metric.smallest} pixels."
        for metric in scores.metrics
        if (covered := sum(metric.covers(x.height, x.width) for x in scores.facts)) < total
    ]


def _blank(scores: Scores) -> list[str]:
    if "saved" in scores.tables:
        causes = {
            "black": "were values in [0, 1] saved without scaling them to 0..255?",
            "flat": "did the tool fail?",
        }
    else:
        causes = dict.fromkeys(("black", "flat"), "do the weights suit the sources?")
    words = {"black": "black", "flat": "of a single grey level"}
    found = []
    for blank, cause in causes.items():
        names = list(compress(scores.images, (facts.blank == blank for facts in scores.facts)))
        if names:
            found.append(f"{_results(names, 'is', 'are')} {words[blank]}: {cause}")
    return found


def _results(names: list[str], one: str, many: str) -> str:
    """How many and which, with the verb that suits the number."""
    return f"{_count(len(names), 'result')} ({some_of(names)}) {one if len(names) == 1 else many}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def lines(scores: Scores, table: str) -> list[list[str]]:
    """The cells of a table under `HEADINGS`, a line for each metric."""
    return [_line(scores, table, metric) for metric in scores.metrics]


def _line(scores: Scores, table: str, metric: Metric) -> list[str]:
    summaries = {row: values[metric.name] for row, values in scores.summaries[table].items()}
    fused = summaries["fused"]
    arrow = "↑" if metric.better == "higher" else "↓"
    interval = f"{_number(fused.low)} to {_number(fused.high)}"
    baselines = [
        _mean(summaries[row]) + (" *" if scores.beats(table, row, metric) else "")
        for row in BASELINES
    ]
    return [
        f"{metric.name} {arrow}",
        _mean(fused),
        _number(fused.deviation),
        "-" if math.isnan(fused.low) else interval,
        *baselines,
    ]


def _mean(summary: Summary) -> str:
    missing = f" ({summary.undefined} undef.)" if summary.undefined else ""
    return _number(summary.mean) + missing


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def as_csv(scores: Scores) -> str:
    """All values, one line for each table, row and image. Undefined is nan."""
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
    """The tables with their legend, and what was left out."""
    blocks = [f"# Scores of {scores.method}", profile(scores)]
    for table in scores.tables:
        head = [HEADINGS, ["---", *["---:"] * (len(HEADINGS) - 1)]]
        body = [*head, *lines(scores, table)]
        cells = [[cell.replace("*", r"\*").replace("|", r"\|") for cell in line] for line in body]
        blocks.append(f"{title(scores, table)}:")
        blocks.append("\n".join(f"| {' | '.join(line)} |" for line in cells))
    blocks += [note.replace("*", r"\*") for note in (*legend(scores), *notes(scores))]
    problems = [f"- {problem}" for problem in left_out(scores)]
    if problems:
        blocks.append("\n".join(["Left out:", "", *problems]))
    return "\n\n".join(blocks) + "\n"


def as_latex(scores: Scores) -> str:
    """A plain tabular for each table, with the profile as a comment."""
    blocks = []
    for table in scores.tables:
        head = [f"% {title(scores, table)}", f"% {profile(scores)}"]
        rows = [f"{' & '.join(map(escaped, line))} \\\\" for line in lines(scores, table)]
        heading = f"{' & '.join(map(escaped, HEADINGS))} \\\\"
        columns = "l" + "r" * (len(HEADINGS) - 1)
        body = [f"\\begin{{tabular}}{{{columns}}}", r"\hline", heading, r"\hline", *rows, r"\hline"]
        blocks.append("\n".join([*(" ".join(line.split()) for line in head), *body]))
    return "\n\\end{tabular}\n\n".join(blocks) + "\n\\end{tabular}\n"


def as_json(scores: Scores) -> str:
    """The summary in full precision. Undefined is null."""
    tables = {
        table: {
            row: {
                metric.name: {
                    **plain(asdict(of[metric.name])),
                    **({"beats": scores.beats(table, row, metric)} if row in BASELINES else {}),
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
        "notes": notes(scores),
        "failed": {name: str(reason) for name, reason in scores.failed.items()},
        "missing": scores.missing,
        "unmatched": [str(path) for path in scores.unmatched],
        "skipped": {str(path): reason for path, reason, _ in scores.skipped},
    }
    return json.dumps(summary, indent=2, allow_nan=False)


def left_out(
    scores: Scores,
    reason: Callable[[InputError], str] = str,
    listed: Callable[[Skipped], str] = lambda skipped: f"{skipped.reason}: {skipped.path}",
) -> list[str]:
    """A line for each pair or file that is not in the tables.

    Args:
        scores: what was found.
        reason: the text of an error.
        listed: the line of a file that was not taken.
    """
    return [
        *map(listed, scores.skipped),
        *(f"no partner: {path}" for path in scores.unmatched),
        *(f"no result: {name}" for name in scores.missing),
        *(f"failed: {name}: {reason(error)}" for name, error in scores.failed.items()),
    ]


FILES: dict[str, Callable[[Scores], str]] = {
    "per_image.csv": as_csv,
    "summary.md": as_markdown,
    "summary.tex": as_latex,
    "summary.json": as_json,
}


def write_report(scores: Scores, folder: Path, *, overwrite: bool = False) -> None:
    """Write the `FILES`, each atomically."""
    require_place(folder, overwrite=overwrite)
    for name, text in FILES.items():
        with replacing(folder / name) as temporary:
            # File names may hold bytes that are no text.
            temporary.write_text(text(scores), encoding="utf-8", errors="backslashreplace")


def require_place(folder: Path, *, overwrite: bool = False) -> None:
    """Check, before the work is done, that the report can be written."""
    require_folder(folder)
    for name in FILES:
        if os.path.lexists(folder / name) and not overwrite:
            raise InputError(
                f"{folder / name} exists already: choose another folder, or overwrite it.",
                setting="overwrite",
            )


def require_folder(folder: Path) -> None:
    """Check that a folder is there or can be made, and is writable."""
    place = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not os.path.isdir(place):
        raise InputError(f"{place} is not a folder: choose one for the report.", setting="output")
    if not os.access(place, os.W_OK):
        raise InputError(f"{place} is not writable: choose another folder.", setting="output")
