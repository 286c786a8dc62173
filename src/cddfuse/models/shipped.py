"""Common facts about the shipped weights, by the data that they were trained on."""

from typing import Any

from cddfuse.models.base import Weights

_LICENCE = "Apache-2.0; the data are for research"


def roadscene(location: str, sha256: str, training: str, **options: Any) -> Weights:
    """Weights for infrared and visible pairs; fields as in `Weights`."""
    data = "RoadScene, 160 pairs"
    return Weights(location, sha256, _LICENCE, data, options, training=training)


def streets(location: str, sha256: str, training: str, **options: Any) -> Weights:
    """Weights for infrared and visible pairs of several sets; fields as in `Weights`."""
    data = "RoadScene, 160 pairs; MSRS, 31; LLVIP, 30; frames of three clips of M3SVD, 79"
    return Weights(location, sha256, _LICENCE, data, options, training=training)


def harvard(location: str, sha256: str, training: str, **options: Any) -> Weights:
    """Weights for medical pairs; fields as in `Weights`."""
    data = "Harvard AANLIB, 596 pairs of CT, PET and SPECT with MRI"
    return Weights(location, sha256, _LICENCE, data, options, task="mif", training=training)
