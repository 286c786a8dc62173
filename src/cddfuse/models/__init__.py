"""The model zoo: the index, and the function that makes a network of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cddfuse.errors import InputError
from cddfuse.models.base import Card, FusionModel, Weights
from cddfuse.models.cddfuse import CDDFuse
from cddfuse.models.cddfuse_small import CDDFuseSmall
from cddfuse.models.classical import (
    First,
    GuidedFilter,
    Laplacian,
    Max,
    Mean,
    Second,
    Wavelets,
)
from cddfuse.models.defusion import DeFusion
from cddfuse.models.didfuse import DIDFuse
from cddfuse.models.emfusion import EMFusion
from cddfuse.models.options import checked_options
from cddfuse.models.reconet import ReCoNet
from cddfuse.models.rfnnest import RFNNest
from cddfuse.models.sdnet import SDNet
from cddfuse.models.tardal import TarDAL
from cddfuse.models.u2fusion import U2Fusion
from cddfuse.models.weights import load_weights, save_weights

MODELS: Mapping[str, type[FusionModel]] = {
    "cddfuse": CDDFuse,
    "cddfuse_small": CDDFuseSmall,
    "didfuse": DIDFuse,
    "u2fusion": U2Fusion,
    "sdnet": SDNet,
    "rfnnest": RFNNest,
    "tardal": TarDAL,
    "defusion": DeFusion,
    "reconet": ReCoNet,
    "emfusion": EMFusion,
    "first": First,
    "second": Second,
    "mean": Mean,
    "max": Max,
    "laplacian": Laplacian,
    "dwt": Wavelets,
    "guided": GuidedFilter,
}


def create_model(
    name: str = "cddfuse", weights: str | Path | None = None, **options: Any
) -> FusionModel:
    """Make a network of the zoo, ready to fuse.

    Args:
        name: see `MODELS`.
        weights: a name on the network's card, a file, a folder, or a repository of the hub (see
            `load_weights`); None leaves the network untrained.
        options: arguments of the network's constructor, as values or as text; they override those
            that the weights come with.

    Returns:
        The network on the CPU, in evaluation mode.
    """
    if name not in MODELS:
        raise InputError(f"there is no network {name}: known are {', '.join(MODELS)}.")
    kind = MODELS[name]
    options = checked_options(kind, options)
    model = kind(**options) if weights is None else load_weights(kind, weights, options)
    return model.eval()


__all__ = [
    "MODELS",
    "Card",
    "FusionModel",
    "Weights",
    "create_model",
    "load_weights",
    "save_weights",
]
