"""The pages of docs/results, the README's table and the performance page, from results and data."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cddfuse.benchmark import plots
from cddfuse.benchmark.captions import (
    COST_HEADINGS,
    MARKS,
    TASKS,
    compares,
    legend,
    notes,
    number,
)
from cddfuse.benchmark.cells import BASELINE
from cddfuse.benchmark.data_files import as_json, as_wide_csv
from cddfuse.benchmark.markdown import differences_markdown, plain, table_markdown
from cddfuse.benchmark.suite import Results
from cddfuse.benchmark.tables import Table, tables
from cddfuse.benchmark.timing import HEIGHT, WIDTH, Cost, is_busy, machine
from cddfuse.datasets.catalog import CATALOG
from cddfuse.io import replacing

REFERENCE = "cddfuse"
SHOWN = ("cddfuse", "cddfuse_small", "mean", "max")
"""Rows of the README's table, beside the published ones."""

DOWNSTREAM = (
    "Does a fused image help a detector or a segmenter? On "
    "[synthetic streets](downstream/index.md), all networks beside both sources; on "
    "[34 pairs of MSRS](downstream/msrs.md), to show that real files go through. Made by "
    "`scripts/downstream_results`."
)

Content = Mapping[str, Any]


def write_set(results: Results, missing: Sequence[str], out: Path, about: Content) -> None:
    """The page of a data set, with its numbers and plots.

    Args:
        results: of the data set.
        missing: methods without a result.
        out: docs/results.
        about: versions, commit, machine.
    """
    found = tables(results)
    name = found[0].data.name
    content = {**json.loads(as_json(results, about)), "missing": list(missing)}
    _write(out / "data" / f"{name}.json", json.dumps(content, indent=1) + "\n")
    _write(out / "data" / f"{name}.csv", as_wide_csv(results))
    drawn = _plots(found[0], results.costs)
    for kind, markup in drawn.items():
        _write(out / "plots" / f"{name}_{kind}.svg", markup)
    _write(out / f"{name}.md", _page(results, found, missing, list(drawn), about))


def _plots(table: Table, costs: Mapping[str, Cost]) -> dict[str, str]:
    measured = {label: cost for label, cost in costs.items() if not is_busy(cost.load)}
    drawn = {
        "ranks": plots.rank_diagrams(table.columns, table.ranks),
        "distributions": plots.distributions(table),
        "cost": plots.score_against_cost(table, measured),
    }
    return {kind: markup + "\n" for kind, markup in drawn.items() if markup}


_PLOTS = {
    "ranks": "Mean ranks over the pairs, best at the left, with each image stretched. Bars join "
    "what the Nemenyi test does not tell apart (5 %).",
    "distributions": "Scores of the pairs: quartiles, whiskers at 5 and 95 %.",
    "cost": f"Mean score, with its 95 % interval, against the seconds for a pair of {WIDTH} x "
    f"{HEIGHT}.",
}


def _page(
    results: Results,
    found: Sequence[Table],
    missing: Sequence[str],
    drawn: Sequence[str],
    about: Content,
) -> str:
    data = found[0].data
    blocks = [
        f"# {data.title}",
        f"{len(found[0].images)} pairs. Numbers of each pair: [CSV](data/{data.name}.csv); means "
        f"with 95 % intervals, tests, provenance: [JSON](data/{data.name}.json). "
        "[How the comparison is made](../benchmark.md).",
        *compares(found),
        *legend(found),
    ]
    if missing:
        blocks.append(f"Not run: {plain('; '.join(missing))}.")
    for table, heading in zip(
        found, ("Stretched, as published", "Without the stretch"), strict=True
    ):
        blocks += [f"## {heading}", table_markdown(table)]
    if differences := differences_markdown(found[0], REFERENCE):
        blocks += [f"## Against {REFERENCE}", differences]
    for kind in drawn:
        text = f"{_PLOTS[kind]}\n\n![{kind}](plots/{data.name}_{kind}.svg)"
        blocks += [f"## {kind.capitalize()}", text]
    remarks = [f"- {plain(note)}" for note in notes(results, found)]
    remarks += [f"- failed: {plain(f'{x.method}: {x.reason}')}" for x in results.failures]
    blocks += ["## Notes", "\n".join(remarks)] if remarks else []
    blocks += ["## Provenance", _provenance(results, about)]
    return "\n\n".join(blocks) + "\n"


def _provenance(results: Results, about: Content) -> str:
    rows = [
        (
            plain(label),
            str(record.facts.get("weights_sha256", ""))[:12]
            if record.facts.get("weights")
            else "none",
            record.facts["code"],
            record.key,
        )
        for (_, label), record in results.records.items()
        if label != BASELINE.label
    ]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return f"Page written from commit {about['commit'] or 'unknown'} with {versions}.\n\n" + _table(
        ("method", "weights, SHA-256", "code", "key"), rows
    )


def write_costs(costs: Mapping[str, Cost], out: Path) -> None:
    """What each network costs. Without any, what is there stays."""
    if costs:
        content = {
            "machine": machine(),
            "costs": {name: asdict(cost) for name, cost in costs.items()},
        }
        _write(out / "data" / "cost.json", json.dumps(content, indent=1) + "\n")


def standing_costs(out: Path) -> dict[str, Cost]:
    """What each network costs, as it is written there."""
    content = _content(out / "data" / "cost.json")
    return {name: Cost(**cost) for name, cost in content.get("costs", {}).items()}


def write_overview(out: Path, readme: Path, performance: Path) -> list[Path]:
    """The overview of all sets, the README's table and that of costs, from the data files."""
    sets = [
        content
        for content in map(_content, sorted((out / "data").glob("*.json")))
        if "tables" in content
    ]
    sets.sort(key=lambda content: list(CATALOG).index(content["tables"][0]["data"]))
    _write(out / "index.md", _overview(sets, tasks=(out / "downstream" / "index.md").is_file()))
    between(readme, "results", _readme(sets) or "No data set has been run.")
    written = [out / "index.md", readme]
    spent = _content(out / "data" / "cost.json")
    unknown = "Not measured yet. Parameters and multiply-adds: [networks](zoo.md)."
    between(performance, "costs", costs_table(spent) if spent else unknown)
    return [*written, performance]


def _stretched(content: Content) -> Content:
    """The table with the stretch, but target contrast without, which the stretch would change."""
    table, without = content["tables"]
    plain_rows = {row["label"]: row["cells"] for row in without["rows"]}
    rows = []
    for row in table["rows"]:
        own = plain_rows.get(row["label"], {})
        kept = {name: cell for name, cell in own.items() if name.startswith("TC")}
        rows.append({**row, "cells": {**row["cells"], **kept}})
    return {**table, "rows": rows}


def _content(path: Path) -> Content:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _overview(sets: Sequence[Content], *, tasks: bool = False) -> str:
    blocks = [
        "# Results",
        "All networks with weights, the methods without learning and the baselines on the "
        "published test sets: means over all pairs, each fused image stretched to 0..255 as in "
        "published tables, but for target contrast (TC), which is without the stretch; the page of "
        "each set also has the other scores without the stretch, tests, ranks, distributions and "
        "provenance. Signs: "
        + ", ".join(f"{mark} {name}" for name, mark in MARKS.items())
        + " (letters of the baselines with a better mean); best of the methods bold, second "
        "underlined, those trained for the other task apart.",
        "Made by `scripts/results`, which keeps what is finished and can be run in parts "
        "(`scripts/results --help`). The images are research data of others and are not here.",
    ]
    if not sets:
        blocks.append("No data set has been run.")
    for block, heading in TASKS.items():
        mine = [content for content in sets if content["tables"][0]["task"] == block]
        if mine:
            blocks.append(f"## {heading}")
        for content in mine:
            table = _stretched(content)
            title = CATALOG[table["data"]].title
            blocks.append(f"### [{title}]({table['data']}.md), {table['pairs']} pairs")
            if content["missing"]:
                blocks.append(f"Not run: {plain('; '.join(content['missing']))}.")
            blocks.append(_rows(table, [(_label(row, block), row) for row in table["rows"]]))
    if tasks:
        blocks += ["## Downstream tasks", DOWNSTREAM]
    return "\n\n".join(blocks) + "\n"


def _readme(sets: Sequence[Content]) -> str:
    """Ours, the baselines mean and max, and the published CDDFuse, for each data set."""
    blocks = []
    for block, heading in TASKS.items():
        mine = [_stretched(content) for content in sets]
        mine = [table for table in mine if table["task"] == block]
        if not mine:
            continue
        metrics = list(mine[0]["metrics"])
        lines = [[f"**{heading}**", *_heads(mine[0])], ["---", *["---:"] * len(metrics)]]
        for table in mine:
            title, absent = CATALOG[table["data"]].title, ["cddfuse"]
            for label, row in _chosen(table, block):
                absent = [name for name in absent if name != row["label"]]
                lines.append([f"{title}, {table['pairs']} pairs: {label}" if title else label,
                              *_cells(row, metrics)])  # fmt: skip
                title = ""
            if absent:
                lines.append([f"`{absent[0]}`: not run", *[""] * len(metrics)])
        blocks.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(blocks)


def _chosen(table: Content, task: str) -> Iterator[tuple[str, Content]]:
    rows = {row["label"]: row for row in table["rows"]}
    wanted = [name for name in SHOWN if name in rows]
    for name in wanted[: sum(name not in ("mean", "max") for name in wanted)]:
        yield f"`{name}`", rows[name]
    for label in ("cddfuse (paper)", f"cddfuse (paper, {task})"):
        if label in rows:
            yield "CDDFuse, published", rows[label]
    for name in ("mean", "max"):
        if name in rows:
            yield f"`{name}` of the sources", rows[name]


def _label(row: Content, task: str) -> str:
    words = [row["label"]]
    if row["kind"] != "method":
        words.append(row["kind"])
    elif row["trained"] and (task == "mif" or row["trained"] != task):
        words.append(f"trained on {row['trained'].upper()}")
    return plain(", ".join(words))


def _rows(table: Content, rows: Sequence[tuple[str, Content]]) -> str:
    metrics = list(table["metrics"])
    lines = [["", *_heads(table)], ["---", *["---:"] * len(metrics)]]
    lines += [[label, *_cells(row, metrics)] for label, row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _heads(table: Content) -> list[str]:
    arrows = {"higher": "↑", "lower": "↓"}
    return [f"{name} {arrows[facts['better']]}" for name, facts in table["metrics"].items()]


def _cells(row: Content, metrics: Sequence[str]) -> list[str]:
    found = []
    for name in metrics:
        cell = row["cells"].get(name)
        mean = cell["summary"]["mean"] if cell else None
        text = "-" if mean is None else _short(float(mean))
        if cell and mean is not None:
            text = {1: f"**{text}**", 2: f"<u>{text}</u>"}.get(cell["place"], text)
            letters = "".join(MARKS[baseline] for baseline in cell["beaten_by"])
            text += f"<sup>{letters}</sup>" if letters else ""
        found.append(text)
    return found


def _short(value: float) -> str:
    """Two decimals, as in published tables."""
    return number(value) if not math.isfinite(value) else f"{value:.2f}"


def costs_table(content: Content) -> str:
    """The table of the performance page. Seconds of a busy machine are left out."""
    costs = {name: Cost(**values) for name, values in content["costs"].items()}
    busy = [name for name, cost in costs.items() if is_busy(cost.load)]
    rows = []
    for name, cost in sorted(costs.items(), key=lambda item: item[1].multiply_adds or 0):
        seconds = (
            ["busy", "busy"] if name in busy else [f"{cost.seconds:.3g}", f"{cost.slowest:.3g}"]
        )
        work = "" if not cost.multiply_adds else f"{cost.multiply_adds / 1e9:.1f}"
        parameters = f"{cost.parameters:,}" if cost.parameters else ""
        rows.append(
            (
                f"`{name}`",
                parameters,
                work,
                *seconds,
                f"{cost.peak_bytes / 1e6:.0f}",
                str(cost.turns),
            )
        )
    here = content["machine"]
    text = (
        f"{here['cpu']}, {here['cores']} cores, {here['memory_gb']} GB, Python {here['python']}; a "
        f"pair of {WIDTH} x {HEIGHT} on the CPU."
    )
    if busy:
        text += (
            " Seconds of turns while other programs kept the machine busy are left out; "
            "`scripts/results --turns 3` on an idle machine measures them again."
        )
    return f"{text}\n\n{_table(('network', *COST_HEADINGS[:-1], 'turns'), rows)}"


def between(path: Path, name: str, text: str) -> None:
    """Replace what is between the markers <!-- NAME:begin --> and <!-- NAME:end --> of a file."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before = path.read_text(encoding="utf-8")
    if before.count(begin) != 1 or before.count(end) != 1:
        raise ValueError(f"{path} needs the lines {begin} and {end} once.")
    pattern = f"{re.escape(begin)}.*?{re.escape(end)}"
    after = re.sub(pattern, lambda _: f"{begin}\n\n{text}\n\n{end}", before, flags=re.DOTALL)
    if after != before:
        _write(path, after)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [list(headings), ["---"] * len(headings), *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
