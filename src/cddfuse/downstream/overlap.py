"""Test images that the weights of a network were trained or selected on: said beside the tables."""

from cddfuse.datasets.catalog import CATALOG, TRAINED_ON, split_of
from cddfuse.datasets.fingerprints import find_copies
from cddfuse.datasets.labelled import LabelledSet
from cddfuse.downstream.inputs import Input
from cddfuse.models.load import default_weights


def seen_in_training(given: Input, labelled: LabelledSet) -> list[str]:
    """Names of the test images that are in the training data of a network, as far as is known."""
    if given.kind != "network":
        return []
    weights = given.weights or default_weights(given.model, "ivf")
    test = labelled.partition.test
    prints = {name: labelled.prints[name] for name in test if name in labelled.prints}
    found: set[str] = set()
    for path in TRAINED_ON.get(f"{given.model}/{weights}", ()):
        known = split_of(path).fingerprints()
        if labelled.card is CATALOG[path.partition("/")[0]]:
            found.update(name for name in test if name in known)
        marked = [(name, mark) for name, mark in known.items() if mark is not None]
        found.update(find_copies(prints, marked))
    return sorted(found)


def note(given: Input, labelled: LabelledSet) -> str:
    """The sentence about them; empty if there are none."""
    seen = seen_in_training(given, labelled)
    if not seen:
        return ""
    return (
        f"{given.label}: {len(seen)} of {len(labelled.partition.test)} test images ({seen[0]}, "
        "...) are in the training data of its weights, so its row may be too good."
    )
