"""Tables of detection and segmentation in the page: those of `cddfuse downstream`, as it left them.

They are read from the file downstream.json of a run. Scores are shares there and percent here.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cddfuse.errors import InputError

FILE = "downstream.json"
_TITLES = {"detect": "Detection", "segment": "Segmentation"}


def read_tables(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """What the page shows of runs of `cddfuse downstream`: a view for each measure of each run.

    Args:
        folders: of the runs.
    """
    return [view for folder in folders for view in _views(folder)]


def _views(folder: Path) -> list[dict[str, Any]]:
    path = folder / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        notes = [str(line) for line in content["notes"]]
        title = f"{_TITLES[content['task']]} on {content['data']}"
        found = [_view(title, table, content) for table in content["tables"]]
    except OSError as error:
        raise InputError(
            f"{folder} has no {FILE} that can be read: give the folder of a run of downstream.",
            setting="downstream",
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no result of downstream ({error!r}).", "downstream") from error
    if found:
        found[-1]["notes"] = notes
    return found


def _view(title: str, table: Mapping[str, Any], content: Mapping[str, Any]) -> dict[str, Any]:
    classes = [str(name) for name in content["classes"]]
    return {
        "title": title,
        "measure": table["measure"],
        "caption": table["caption"],
        "reference": table["reference"],
        "classes": classes,
        "rows": [_row(row, classes) for row in table["rows"]],
        "findings": table["findings"],
        "notes": [],
    }


def _row(row: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    mean, difference = row["mean"], row["difference"]
    source = row["label"] in ("vi", "ir")
    return {
        "label": row["label"],
        "kind": "published" if row["published"] else "baseline" if source else "method",
        "cells": [_cell(row["classes"].get(name)) for name in classes],
        "mean": _cell(mean["mean"]) | _ranges(mean, ""),
        "difference": _cell(difference["mean"], "+") | _ranges(difference, "+")
        if difference
        else _cell(None) | {"seeds": "", "images": ""},
        "flag": row["flag"],
    }


def _cell(value: float | None, sign: str = "") -> dict[str, str]:
    if value is None or math.isnan(value):
        return {"text": "-", "sort": ""}
    return {"text": f"{100 * value:{sign}.1f}", "sort": repr(float(value))}


def _ranges(estimate: Mapping[str, Any], sign: str) -> dict[str, str]:
    """Intervals over seeds and over images; empty where they are not known."""
    found = {}
    for name in ("seeds", "images"):
        ends = [_cell(estimate[name][end], sign)["text"] for end in ("low", "high")]
        found[name] = "" if "-" in ends else f"{' to '.join(ends)} ({name})"
    return found
