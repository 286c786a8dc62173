"""The table of an ablation: what each variant is made of, its scores, and published rows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from cddfuse.ablation.runs import Trained
from cddfuse.ablation.variants import FULL, HEADINGS, configuration
from cddfuse.benchmark.captions import compares, legend, notes
from cddfuse.benchmark.data_files import as_json
from cddfuse.benchmark.latex import PREAMBLE, table_latex
from cddfuse.benchmark.markdown import (
    costs_markdown,
    differences_markdown,
    plain,
    table_markdown,
)
from cddfuse.benchmark.suite import Results
from cddfuse.benchmark.tables import tables


def cells(trained: Sequence[Trained]) -> dict[str, Sequence[str]]:
    """Columns that say what a variant is made of and how long it was trained, by label."""
    rows = {
        run.prepared.variant.title: (*configuration(run.prepared.recipe), str(run.steps))
        for run in trained
    }
    return {"": (*HEADINGS, "steps"), **rows}


def remarks(trained: Sequence[Trained]) -> list[str]:
    """What a reader has to know of the training."""
    first = trained[0].prepared
    recipe, pairs = first.recipe, len(first.pairs.train)
    budget = f"{recipe.minutes:g} minutes" if recipe.minutes else f"{trained[0].steps} steps"
    return [
        f"Each variant was trained once: {budget}, {pairs} pairs, seed {recipe.seed}. How much "
        "runs of one variant with other seeds differ was not measured.",
        "Published rows of CDDFuse are of 120 epochs on 1,083 pairs of MSRS; compare differences "
        "between variants, not values.",
    ]


def as_markdown(results: Results, trained: Sequence[Trained]) -> str:
    """All tables, and the differences from the full network with their tests."""
    found = tables(results)
    more = cells(trained)
    blocks = ["# Ablation of CDDFuse", *compares(found), *legend(found), *remarks(trained)]
    for table in found:
        blocks.append(table_markdown(table, more))
        if differences := differences_markdown(table, FULL.title):
            blocks.append(differences)
    if results.costs:
        blocks.append(costs_markdown(results))
    blocks += [f"- {plain(note)}" for note in notes(results, found)]
    blocks += [f"- failed: {plain(f'{x.data}, {x.method}: {x.reason}')}" for x in results.failures]
    return "\n\n".join(blocks) + "\n"


def as_latex(results: Results, trained: Sequence[Trained]) -> str:
    """The tables, for the package booktabs."""
    more = cells(trained)
    words = [f"% {remark}" for remark in remarks(trained)]
    made = [table_latex(table, more) for table in tables(results)]
    return "\n\n".join([PREAMBLE, "\n".join(words), *made]) + "\n"


def as_json_text(results: Results, trained: Sequence[Trained], about: Mapping[str, Any]) -> str:
    """Everything: recipes and steps of the variants, then as `benchmark.json`."""
    variants = [
        {
            **asdict(run.prepared.variant),
            "steps": run.steps,
            "weights": str(run.prepared.weights),
            "recipe": asdict(run.prepared.recipe),
            "pairs": {"train": len(run.prepared.pairs.train), "val": len(run.prepared.pairs.val)},
        }
        for run in trained
    ]
    content = {"variants": variants, **json.loads(as_json(results, about))}
    return json.dumps(content, indent=2, allow_nan=False) + "\n"
