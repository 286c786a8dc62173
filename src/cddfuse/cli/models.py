"""The verb `models`."""

import json as json_format
from dataclasses import asdict
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cddfuse.cli.common import Flag, print_table
from cddfuse.models import MODELS, FusionModel
from cddfuse.models.options import described, known_options
from cddfuse.models.weights import imported
from cddfuse.runtime import work

_HEIGHT, _WIDTH = 480, 640


def models(*, json: Flag = False) -> int:
    """List the networks and methods that `fuse --model` takes.

    Multiply-adds are for one pair of 640 x 480 pixels. Weights are those that are shipped, or that
    were imported on this machine (`cddfuse weights import`). The licence is that of the authors'
    code and weights.

    Args:
        json: Print all facts as JSON: conventions of the authors' programs, what shipped weights
            were trained on, options, and the overlap at which tiles are exact (null: none is).
    """
    rows = [facts(kind) for kind in MODELS.values()]
    if json:
        print(json_format.dumps(rows, indent=2))
        return 0
    table = Table("model", "task", box=None)
    table.add_column("parameters", justify="right")
    table.add_column("GMAC", justify="right")
    table.add_column("weights")
    table.add_column("licence of the authors")
    for row in rows:
        work = row["multiply_adds"]
        table.add_row(
            row["model"],
            ", ".join(row["tasks"]),
            f"{row['parameters']:,}" if row["parameters"] else "",
            "" if work is None else f"{work / 1e9:.1f}",
            Text(", ".join(row["weights"]) or ("" if row["parameters"] else "none needed")),
            Text(row["licence"]),
        )
    print_table(Console(highlight=False), table)
    return 0


def facts(kind: type[FusionModel]) -> dict[str, Any]:
    """Facts about a network, as plain values."""
    card = kind.card
    return {
        "model": card.name,
        "tasks": list(card.tasks),
        "parameters": card.parameters,
        "multiply_adds": multiply_adds(kind) if card.parameters else None,
        "options": {name: described(hint) for name, hint in known_options(kind).items()},
        "weights": [*card.weights, *(name for name in imported(kind) if name not in card.weights)],
        "licence": card.published.licence if card.published else "",
        "paper": card.paper,
        "published": asdict(card.published) if card.published else None,
        "shipped": {name: asdict(weights) for name, weights in card.weights.items()},
        "tiles_overlap": card.receptive_radius,
    }


def multiply_adds(kind: type[FusionModel]) -> int:
    """Multiply-adds for one pair of 640 x 480 pixels, counted without data."""
    with torch.device("meta"):
        model = kind().eval()
    return work.multiply_adds(model, _HEIGHT, _WIDTH)
