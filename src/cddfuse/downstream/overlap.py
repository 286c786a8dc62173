"""Test images that the weights of a network were trained or selected on: said beside the tables."""

from cddfuse.datasets.catalog import TRAINED_ON
from cddfuse.datasets.fingerprints import found_in_splits
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
    splits = TRAINED_ON.get(f"{given.model}/{weights}", ())
    return sorted(found_in_splits(splits, labelled.card, test, prints))


def note(given: Input, labelled: LabelledSet) -> str:
    """The sentence about them; empty if there are none."""
    seen = seen_in_training(given, labelled)
    if not seen:
        return ""
    return (
        f"{given.label}: {len(seen)} of {len(labelled.partition.test)} test images ({seen[0]}, "
        "...) are in the training data of its weights, so its row may be too good."
    )
