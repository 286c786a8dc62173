"""Refuse to score a network on images that it was trained or selected on."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from cddfuse.benchmark.cells import Settings, open_pairs, pair_names, weights_for
from cddfuse.benchmark.plan import DataSet, Method
from cddfuse.datasets.catalog import CATALOG, TRAINED_ON, Fingerprint, split_of
from cddfuse.datasets.fingerprints import find_copies, fingerprint
from cddfuse.errors import InputError
from cddfuse.evaluate.sources import GreyImages
from cddfuse.io import replacing
from cddfuse.models import MODELS


def training_splits(method: Method, data: DataSet) -> tuple[str, ...] | None:
    """The splits that the weights of a method were trained on; None if that is not known."""
    if method.results is not None:
        return None
    if (
        method.model is not None
        and method.model in MODELS
        and not MODELS[method.model].card.parameters
    ):
        return ()
    return TRAINED_ON.get(f"{method.model}/{weights_for(method, data)[0]}")


def trained_pairs(
    splits: Iterable[str], data: DataSet, names: Iterable[str], prints: Mapping[str, Fingerprint]
) -> dict[str, str]:
    """Pairs of a data set that are in splits, with the name of the pair there."""
    found: dict[str, str] = {}
    for path in splits:
        known = split_of(path).fingerprints()
        if data.card is CATALOG[path.partition("/")[0]]:
            found |= {name: f"{path}/{name}" for name in names if name in known}
        marked = [(name, mark) for name, mark in known.items() if mark is not None]
        copies = find_copies(prints, marked)
        found = {**{name: f"{path}/{other}" for name, other in copies.items()}, **found}
    return found


def require_unseen(method: Method, data: DataSet, settings: Settings, out: Path, key: str) -> None:
    """Refuse a cell whose images are in the training data of its weights.

    Args:
        method: of the cell.
        data: of the cell.
        settings: what is scored.
        out: where fingerprints of data sets are kept.
        key: of the data.
    """
    splits = training_splits(method, data)
    if not splits:
        return
    names = [pair.name for pair in pair_names(data, settings)]
    seen = trained_pairs(splits, data, names, _fingerprints(data, settings, out, key))
    if seen:
        shown = ", ".join([*list(seen)[:5], *(["..."] if len(seen) > 5 else [])])
        raise InputError(
            f"{len(seen)} of {len(names)} pairs of {data.name} ({shown}) are in the training data "
            f"of {method.label} ({', '.join(splits)}): leave the model or those pairs out.",
            setting="models",
        )


def _fingerprints(data: DataSet, settings: Settings, out: Path, key: str) -> dict[str, Fingerprint]:
    path = out / "fingerprints" / f"{key[:24]}.json"
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {name: Fingerprint(*marks) for name, marks in stored.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        pass
    found = {}
    for entry in GreyImages(open_pairs(data, settings), limit=settings.limit):
        try:
            found[entry.name] = fingerprint(entry.read().pair)
        except Exception:  # what cannot be read is reported when it is scored
            continue
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(found), encoding="utf-8")
    return found
