"""Refuse to score a network on images that it was trained or selected on."""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from cddfuse.benchmark.cells import Settings, open_pairs, pair_names, weights_for
from cddfuse.benchmark.plan import DataSet, Method
from cddfuse.datasets.catalog import TRAINED_ON, Fingerprint
from cddfuse.datasets.fingerprints import fingerprint, found_in_splits, kept
from cddfuse.errors import InputError, some_of
from cddfuse.evaluate.sources import GreyImages
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
    return TRAINED_ON.get(f"{method.model}/{_shipped(method, data)}")


def _shipped(method: Method, data: DataSet) -> str | None:
    """The name of the weights, also where the file of shipped ones is named."""
    weights = weights_for(method, data)[0]
    card = MODELS[method.model].card if method.model and method.model in MODELS else None
    if weights is None or card is None or weights in card.weights or not Path(weights).is_file():
        return weights
    digest = hashlib.sha256(Path(weights).read_bytes()).hexdigest()
    return next((name for name, known in card.weights.items() if known.sha256 == digest), weights)


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
    seen = found_in_splits(splits, data.card, names, _fingerprints(data, settings, out, key))
    if seen:
        shown = some_of(seen)
        raise InputError(
            f"{len(seen)} of {len(names)} pairs of {data.name} ({shown}) are in the training data "
            f"of {method.label} ({', '.join(splits)}): leave the model or those pairs out.",
            setting="models",
        )


def _fingerprints(
    data: DataSet, settings: Settings, out: Path, key: str
) -> Mapping[str, Fingerprint]:
    def read() -> dict[str, Fingerprint]:
        found = {}
        for entry in GreyImages(open_pairs(data, settings), limit=settings.limit):
            with suppress(Exception):  # what cannot be read is reported when it is scored
                found[entry.name] = fingerprint(entry.read().pair)
        return found

    return kept(out / "fingerprints" / f"{key[:24]}.json", read)
