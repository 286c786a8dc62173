"""Metrics that a training loss asked for: scores in them say less than scores in the others."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from cddfuse.models import MODELS

_METRICS = {
    "ssim": "SSIM",
    "vif": "VIF",
    "qabf": "Qabf",
    "mi": "MI",
    "scd": "SCD",
    "target_contrast": "TC",
    # What recipes of older weights called these terms.
    "likeness": "SSIM",
    "fidelity": "VIF",
    "preservation": "Qabf",
    "information": "MI",
    "difference": "SCD",
}


def rewarded_metrics(model: str, weights: str) -> list[str]:
    """Metrics that are terms of the loss in the recipe that weights carry; empty without one.

    Args:
        model: name of the network.
        weights: name of shipped weights, or a weights file.
    """
    settings = _recipe(model, weights)
    terms = {**settings, **(settings.get("loss") or {})}
    counting = [
        metric
        for term, metric in _METRICS.items()
        if isinstance(terms.get(term), int | float) and terms[term] > 0
    ]
    return list(dict.fromkeys(counting))


def _recipe(model: str, weights: str) -> dict[str, Any]:
    path = Path(weights)
    if model in MODELS and weights in (shipped := MODELS[model].card.weights):
        path = Path(str(files("cddfuse.models") / "pretrained" / shipped[weights].location))
    if path.suffix != ".safetensors":
        return {}
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size)).get("__metadata__", {})
        content = yaml.safe_load(header.get("cddfuse.recipe", ""))
    except (OSError, ValueError, AttributeError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}
