"""Files of a benchmark: Markdown, LaTeX, CSV, JSON and one self-contained HTML page."""

import json
import math
import platform
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

from cddfuse.benchmark import captions
from cddfuse.benchmark.captions import MARKS, number
from cddfuse.benchmark.cells import BASELINE
from cddfuse.benchmark.data_files import as_csv, as_json
from cddfuse.benchmark.downstream import read_tables
from cddfuse.benchmark.latex import as_latex
from cddfuse.benchmark.markdown import as_markdown
from cddfuse.benchmark.pictures import Crops, pictures, worst_images
from cddfuse.benchmark.statistics import ALPHA, Paired
from cddfuse.benchmark.suite import Results
from cddfuse.benchmark.tables import Cell, Column, Row, Table, tables
from cddfuse.benchmark.timing import machine
from cddfuse.errors import InputError
from cddfuse.evaluate.provenance import commit
from cddfuse.io import replacing

PAGE = "report.html"
_PACKAGES = ("torch", "numpy", "scipy", "numba", "opencv-python-headless", "pillow")
_WORST = 3

FILES: dict[str, Callable[[Results, Mapping[str, Any]], str]] = {
    "tables.md": lambda results, about: as_markdown(results),
    "tables.tex": lambda results, about: as_latex(results),
    "per_image.csv": lambda results, about: as_csv(results),
    "benchmark.json": as_json,
}


def require_extra() -> None:
    """Check, before hours of work, that the packages of the extra are there."""
    try:
        import jinja2  # noqa: F401
        import matplotlib  # noqa: F401
        import scipy  # noqa: F401
    except ImportError as error:
        text = f"a benchmark needs {error.name}: pip install 'cddfuse[benchmark]' first."
        raise InputError(text) from error


def about(results: Results, reference: str | None) -> dict[str, Any]:
    """What the numbers depend on: versions, machine, commit, settings."""
    settings = results.settings
    packages = {}
    for name in ("cddfuse", *_PACKAGES):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "versions": {"python": platform.python_version(), **packages},
        "commit": commit(),
        "machine": machine(),
        "profile": settings.profile,
        "limit": settings.limit,
        "reference": reference,
        "data": {data.name: data.title for data in results.plan.data},
    }


def default_reference(results: Results) -> str | None:
    """The method that the others are tested against: the first that has scores."""
    scored = {label for _, label in results.records}
    return next((m.label for m in results.plan.methods if m.label in scored), None)


def write_report(
    results: Results,
    out: Path,
    *,
    reference: str | None = None,
    shown: int = 8,
    crops: Crops | None = None,
    downstream: Sequence[Path] = (),
) -> list[Path]:
    """Write all files, each atomically, over those of an earlier run.

    Args:
        results: of `suite.run_plan`.
        out: the folder of the run.
        reference: label of the method that the others are tested against; None is the first.
        shown: images of each data set in the page.
        crops: regions to enlarge; those of warm targets where there are none.
        downstream: folders of runs of `cddfuse downstream`, whose tables are in the page too.
    """
    tasks = read_tables(downstream)
    reference = reference or default_reference(results)
    facts = about(results, reference)
    texts = {name: make(results, facts) for name, make in FILES.items()}
    texts[PAGE] = page(results, facts, out, shown=shown, crops=crops or {}, tasks=tasks)
    for name, text in texts.items():
        with replacing(out / name) as temporary:
            # File names may hold bytes that are no text.
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    return [out / name for name in texts]


def page(
    results: Results,
    facts: Mapping[str, Any],
    out: Path,
    *,
    shown: int,
    crops: Crops,
    tasks: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The page, with style, script, plots and images in it."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("cddfuse.benchmark", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found = tables(results)
    sets = _sets(results, facts, found, out, shown, crops)
    folder = files("cddfuse.benchmark") / "page"
    context = {
        "sets": [view for view, _ in sets],
        "downstream": tasks,
        "tasks": captions.TASKS,
        "about": facts,
        "variants": captions.VARIANTS,
        "methods": [method.label for method in results.plan.methods],
        "marks": MARKS,
        "legend": captions.legend(found),
        "compares": captions.compares(found),
        "notes": captions.notes(results, found),
        "failures": results.failures,
        "costs": {label: captions.cost_cells(cost) for label, cost in results.costs.items()},
        "cost_headings": captions.COST_HEADINGS,
        "cells": _provenance(results),
        "style": (folder / "style.css").read_text(encoding="utf-8"),
        "script": (folder / "script.js").read_text(encoding="utf-8"),
        "payload": _script_safe([payload for _, payload in sets]),
    }
    text = environment.get_template("page.html").render(context)
    size = len(text.encode("utf-8", "replace")) / 1e6
    return text.replace("@SIZE@", f"{size:.1f} MB", 1)


def _script_safe(content: Any) -> str:
    """JSON that cannot end the script element that it is in."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _provenance(results: Results) -> list[dict[str, str]]:
    return [
        {
            "data": data,
            "method": label,
            "weights": str(record.facts.get("weights") or ""),
            "trained": str(record.facts.get("trained") or ""),
            "sha": _weights_hash(record.facts),
            "data_sha": str(record.facts["data"])[:12],
            "code": str(record.facts["code"]),
            "key": record.key,
        }
        for (data, label), record in results.records.items()
        if label != BASELINE.label
    ]


def _weights_hash(facts: Mapping[str, Any]) -> str:
    if facts.get("as_saved"):
        return str(facts["results"])[:12]
    return str(facts["weights_sha256"])[:12] if facts.get("weights") else "none"


def _sets(
    results: Results,
    facts: Mapping[str, Any],
    found: Sequence[Table],
    out: Path,
    shown: int,
    crops: Crops,
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    views = []
    for data in sorted(results.plan.data, key=lambda data: list(captions.TASKS).index(data.task)):
        mine = [table for table in found if table.data is data]
        if mine:
            images = pictures(mine[0], results.settings, out, shown, crops)
            embedded = {picture.name: picture for picture in images}
            view = {
                "name": data.name,
                "title": data.title,
                "task": data.task,
                "anchor": f"set-{results.plan.data.index(data)}",
                "variants": [_variant(table, results, facts["reference"]) for table in mine],
                "images": len(mine[0].images),
                "shown": len(images),
                "scenes": len(set(mine[0].scenes)),
            }
            views.append((view, _payload(mine, embedded)))
    return views


def _variant(table: Table, results: Results, reference: str | None) -> dict[str, Any]:
    from cddfuse.benchmark import plots

    tests = table.against(reference) if reference else {}
    ranks = table.ranks
    count = sum(test.p == test.p for of in tests.values() for test in of.values())
    return {
        "name": table.variant,
        "caption": captions.caption(table),
        "expected": table.expected(),
        "brief": table.brief(),
        "columns": [_head(column) for column in table.columns],
        "rows": [_row(row, table) for row in [*table.rows, *table.published]],
        "tests": [
            (label, [_test(of[c.name], c, table) for c in table.columns])
            for label, of in tests.items()
        ],
        "test_count": count,
        "powerless": 2 * count / 2 ** len(table.images) >= ALPHA,
        "worst": [
            (label, [table.images[index] for index in order[:_WORST]])
            for label, order in worst_images(table).items()
        ],
        "left_out": {
            c.name: ranks[c.name].left_out for c in table.columns if ranks[c.name].left_out
        },
        "distributions": plots.distributions(table),
        "ranks": plots.rank_diagrams(table.columns, ranks),
        "against_cost": plots.score_against_cost(table, results.costs),
    }


def _head(column: Column) -> dict[str, str]:
    return {
        "name": column.name,
        "arrow": column.arrow,
        "profile": column.profile,
        "title": column.metric.title,
        "better": column.metric.better,
    }


def _row(row: Row, table: Table) -> dict[str, Any]:
    digits = captions.row_digits(row, table)
    return {
        "label": row.label,
        "extra": captions.row_label(row, table).removeprefix(row.label).removeprefix(", "),
        "kind": row.kind,
        "pairs": str(row.images or "-") if row.complete else f"{row.images} of {len(table.images)}",
        "cells": [
            _cell(row.cells.get(column.name), table, digits[column.name])
            for column in table.columns
        ],
    }


def _cell(cell: Cell | None, table: Table, digits: int) -> dict[str, Any]:
    if cell is None or math.isnan(cell.summary.mean):
        return {"text": "-", "sort": "", "place": 0, "beaten": "", "by": "", "range": "", "n": ""}
    summary = cell.summary
    known = not math.isnan(summary.low)
    return {
        "text": number(summary.mean, digits),
        "sort": repr(summary.mean),
        "place": cell.place,
        "beaten": "".join(MARKS[name] for name in cell.beaten_by),
        "by": ", ".join(cell.beaten_by),
        "range": f"{number(summary.low, digits)} to {number(summary.high, digits)}"
        if known
        else "",
        "n": f"n = {len(table.images) - summary.undefined}" if summary.undefined else "",
    }


def _test(test: Paired, column: Column, table: Table) -> dict[str, str]:
    """Where a test is over fewer pairs than the table, it says so."""
    few = f", n = {test.images}" if test.images < len(table.images) else ""
    if test.identical:
        return {"text": "identical", "p": "", "kind": "alike"}
    if not test.images:
        return {"text": "-", "p": "", "kind": "alike"}
    sign = test.difference if column.metric.better == "higher" else -test.difference
    clear = test.adjusted < ALPHA
    p = f"p = {test.adjusted:.3f}" if test.adjusted >= 0.001 else "p < 0.001"
    return {
        "text": captions.difference_text(test.difference, table.digits(column)),
        "p": ("not tested" if math.isnan(test.adjusted) else p) + few,
        "kind": ("better" if sign > 0 else "worse") if clear else "alike",
    }


def _payload(mine: Sequence[Table], embedded: Mapping[str, Any]) -> dict[str, Any]:
    """What the script shows: values per image, and pictures."""
    first = mine[0]
    return {
        "data": first.data.name,
        "images": first.images,
        "rows": list(first.values),
        "columns": [_head(column) for column in first.columns],
        "values": {
            table.variant: [
                [[_digits(x) for x in table.values[row][column.name]] for column in table.columns]
                for row in first.values
            ]
            for table in mine
        },
        "pictures": {
            name: {"size": p.size, "images": p.images, "crops": p.crops}
            for name, p in embedded.items()
        },
    }


def _digits(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return float(f"{value:.5g}") if math.isfinite(value) else str(value)
