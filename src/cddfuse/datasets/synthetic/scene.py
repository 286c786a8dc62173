"""What a generated scene consists of: the pair and what is where in it."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cddfuse.pair import ImagePair

LABELS = ("person", "car", "lamp", "sign", "tree")
"""What an object can be."""

CLASSES = ("sky", "road", "pavement", "building", *LABELS)
"""What a pixel can be; the class map holds places in this tuple."""

_FEWEST_PIXELS = 8


class Object(NamedTuple):
    """One labelled thing, as far as nothing nearer hides it."""

    label: str
    """One of LABELS."""

    box: tuple[int, int, int, int]
    """Left, top, right, bottom in pixels; right and bottom are the first ones outside."""

    mask: Tensor
    """(H, W) bool. Masks of one scene never overlap."""


class Scene(NamedTuple):
    """A registered pair with its labels."""

    pair: ImagePair
    """`first` is the visible image (3, H, W), `second` the infrared one (1, H, W)."""

    objects: tuple[Object, ...]
    """Far ones first. What is hidden, or smaller than a few pixels, is left out."""

    classes: Tensor
    """(H, W) int64, places in CLASSES."""


def visible_objects(owners: npt.NDArray[np.int32], labels: tuple[str, ...]) -> tuple[Object, ...]:
    """Cut a map of owners (H, W), 0 meaning nobody and i the i-th label, into objects."""
    found = []
    for index, label in enumerate(labels, start=1):
        mask = owners == index
        if mask.sum() < _FEWEST_PIXELS:
            continue
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        found.append(Object(label, box, torch.from_numpy(mask)))
    return tuple(found)
