"""Numbers of a benchmark as CSV and JSON."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from cddfuse.benchmark.captions import notes
from cddfuse.benchmark.suite import Results
from cddfuse.benchmark.tables import Table, tables
from cddfuse.evaluate.plain import plain


def as_csv(results: Results) -> str:
    """A row for each image and metric, of each method and variant. Undefined is nan."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["data", "variant", "method", "image", "metric", "profile", "value"])
    for table in tables(results):
        for label, of in table.values.items():
            for column in table.columns:
                for name, value in zip(table.images, of[column.name], strict=True):
                    line = [table.data.name, table.variant, label, name, column.name]
                    writer.writerow([*line, column.profile, repr(value)])
    return text.getvalue()


def as_wide_csv(results: Results) -> str:
    """A row for each image, of each method and variant; a column for each metric, 6 digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for place, table in enumerate(found := tables(results)):
        names = [column.name for column in table.columns]
        if not place or names != [column.name for column in found[place - 1].columns]:
            writer.writerow(["data", "variant", "method", "image", *names])
        for label, of in table.values.items():
            for index, image in enumerate(table.images):
                values = [f"{of[name][index]:.6g}" for name in names]
                writer.writerow([table.data.name, table.variant, label, image, *values])
    return text.getvalue()


def as_json(results: Results, about: Mapping[str, Any]) -> str:
    """Everything but the values per image: means with intervals, tests, ranks, cost, provenance."""
    found = tables(results)
    reference = about.get("reference")
    content = {
        **about,
        "tables": [_json_table(table, reference) for table in found],
        "costs": {label: asdict(cost) for label, cost in results.costs.items()},
        "cells": [
            {
                **{k: v for k, v in record.facts.items() if k != "data"},
                "data": data,
                "data_sha256": record.facts.get("data"),
                "method": label,
                "key": record.key,
            }
            for (data, label), record in results.records.items()
        ],
        "notes": notes(results, found),
        "failures": [failure._asdict() for failure in results.failures],
    }
    return json.dumps(plain(content), indent=2, allow_nan=False) + "\n"


def _json_table(table: Table, reference: Any) -> dict[str, Any]:
    tests = table.against(reference) if reference else {}
    return {
        "data": table.data.name,
        "task": table.data.task,
        "variant": table.variant,
        "pairs": len(table.images),
        "metrics": {
            c.name: {"profile": c.profile, "better": c.metric.better} for c in table.columns
        },
        "rows": [
            {
                "label": row.label,
                "kind": row.kind,
                "pairs": row.images,
                "trained": row.trained,
                "cells": {name: asdict(cell) for name, cell in row.cells.items()},
                "against_reference": {n: asdict(t) for n, t in tests.get(row.label, {}).items()},
            }
            for row in [*table.rows, *table.published]
        ],
        "ranks": {name: asdict(ranks) for name, ranks in table.ranks.items()},
    }
