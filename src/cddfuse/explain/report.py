"""Explanations as numbers."""

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor

from cddfuse.explain import Explanation, PartView, Settings
from cddfuse.models.base import FusionModel
from cddfuse.models.options import known_options


def change(fused: Tensor, other: Tensor) -> float:
    """Mean absolute difference of two images, in grey levels of 255."""
    return float((fused.double() - other.double()).abs().mean() * 255)


def mean_without_nan(values: Tensor | None) -> float | None:
    """Mean over those that are numbers; None if there are none."""
    if values is None or bool(values.isnan().all()):
        return None
    return float(values.nanmean())


def mean_share(found: Explanation) -> float | None:
    """Mean share of the first source, over the pixels that have one; None if there are none."""
    return mean_without_nan(found.share)


def origin(model: FusionModel, settings: Settings) -> dict[str, Any]:
    """What explanations depend on beside the pair: equal ones can stand in one table."""
    options = {name: str(getattr(model, name, None)) for name in known_options(type(model))}
    return {
        "model": model.card.name,
        "options": {name: value for name, value in options.items() if value != "None"},
        "weights_sha256": _digest(model),
        "size": settings.size,
        "directions": settings.directions,
        "seed": settings.seed,
    }


def facts(found: Explanation) -> dict[str, Any]:
    """The numbers of one pair. Changes are in grey levels of 255."""
    height, width = found.fused.shape[-2:]
    parts = {kind: _part(part, found.fused) for kind, part in found.parts.items()}
    residual = found.without_residual
    return {
        "pair": found.pair.name,
        "width": width,
        "height": height,
        "original_width": found.original[1],
        "original_height": found.original[0],
        "correlation_of_images": _number(found.correlation),
        "parts": parts,
        "residual": None if residual is None else {"change": change(found.fused, residual)},
        "share_of_first": mean_share(found),
    }


def correlations(
    rows: Sequence[Mapping[str, Any]], which: str = "correlation"
) -> dict[str, list[float]]:
    """Correlation between the modalities of all pairs, from their facts: of the images, by part.

    Args:
        rows: facts of pairs.
        which: `correlation` or `correlation_inside`.
    """
    found: dict[str, list[float]] = {"images": []}
    for row in rows:
        values = {"images": row["correlation_of_images"]}
        values |= {kind: part[which] for kind, part in row["parts"].items()}
        for kind, value in values.items():
            if value is not None:
                found.setdefault(kind, []).append(value)
    return {kind: values for kind, values in found.items() if values}


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Statistics over the pairs of a data set, from their facts."""
    changes: dict[str, list[float]] = {}
    for row in rows:
        for kind, part in row["parts"].items():
            changes.setdefault(kind, []).append(part["change"])
        if row["residual"]:
            changes.setdefault("residual", []).append(row["residual"]["change"])
    shares = [row["share_of_first"] for row in rows if row["share_of_first"] is not None]
    return {
        "pairs": len(rows),
        **{
            which: {kind: _spread(values) for kind, values in correlations(rows, which).items()}
            for which in ("correlation", "correlation_inside")
        },
        "change": {kind: _spread(values) for kind, values in changes.items()},
        "share_of_first": _spread(shares) if shares else None,
    }


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line for each pair."""
    kinds = list(rows[0]["parts"])
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([
        "pair", "correlation_images", *(f"correlation_{kind}" for kind in kinds),
        *(f"correlation_inside_{kind}" for kind in kinds),
        *(f"change_{kind}" for kind in kinds), "change_residual", "share_of_first",
    ])  # fmt: skip
    for row in rows:
        parts = [row["parts"][kind] for kind in kinds]
        table.writerow([
            row["pair"], row["correlation_of_images"], *(part["correlation"] for part in parts),
            *(part["correlation_inside"] for part in parts),
            *(part["change"] for part in parts), (row["residual"] or {}).get("change"),
            row["share_of_first"],
        ])  # fmt: skip
    return text.getvalue()


def _part(part: PartView, fused: Tensor) -> dict[str, Any]:
    channels = {"": part.correlation, "_inside": part.correlation_inside}
    return {
        "correlation": mean_without_nan(part.correlation),
        "correlation_inside": mean_without_nan(part.correlation_inside),
        **{
            f"correlation{which}_of_channels": (
                [] if values is None else [_number(value) for value in values.tolist()]
            )
            for which, values in channels.items()
        },
        "change": change(fused, part.without),
    }


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if value != value else value


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "mean": fmean(values),
        "std": stdev(values) if len(values) > 1 else 0.0,
        "min": min(values),
        "max": max(values),
        "pairs": len(values),
    }


def _digest(model: FusionModel) -> str:
    """Hash of the weights."""
    sha = hashlib.sha256()
    for name, tensor in sorted(model.weights().items()):
        sha.update(name.encode())
        sha.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()
