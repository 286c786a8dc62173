"""Benchmarks with made-up numbers: no image is read and no network is run."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from cddfuse.benchmark.cells import BASELINE, Record, Settings
from cddfuse.benchmark.plan import DataSet, Method, Plan
from cddfuse.benchmark.suite import Results
from cddfuse.datasets.catalog import find_card
from cddfuse.evaluate import BASELINES

METRICS = ("EN", "SSIM", "TC")

Scores = Mapping[str, Sequence[float]]
"""By row: values of the images, the same for all metrics."""


def record(data: str, label: str, rows: Scores, images: Sequence[str], **facts: object) -> Record:
    table = {row: {name: list(values) for name in METRICS} for row, values in rows.items()}
    known = {"data": "d" * 64, "code": "c" * 16, "weights_sha256": "w" * 64, "weights": ""}
    tables = {"stretched": table, "plain": table}
    return Record(label, data, "k" * 24, known | facts, list(images), tables, {}, [])


def made_up(
    methods: Scores,
    baselines: Scores | None = None,
    *,
    images: Sequence[str] = (),
    name: str = "mine",
    missing: Mapping[str, int] | None = None,
) -> Results:
    """A benchmark of methods with given values on one data set."""
    count = len(next(iter({**(baselines or {}), **methods}.values())))
    names = list(images) or [f"{i:04}" for i in range(count)]
    low = baselines or {row: [math.nan] * count for row in BASELINES}
    data = DataSet(name, Path("first"), Path("second"), "ivf", find_card(name))
    plan = Plan(tuple(Method(label, model="mean") for label in methods), (data,))
    results = Results(plan, Settings(METRICS))
    results.records[name, BASELINE.label] = record(name, BASELINE.label, low, names)
    for label, values in methods.items():
        kept = count - (missing or {}).get(label, 0)
        rows = {"fused": values[:kept]}
        results.records[name, label] = record(name, label, rows, names[:kept])
    return results
