"""A synthetic scene: the image pair and its labels."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cddfuse.pair import ImagePair

LABELS = ("person", "car", "lamp", "sign", "tree")
"""Labels of objects."""

CLASSES = ("sky", "road", "pavement", "building", *LABELS)
"""Classes of pixels; the class map holds indices into this tuple."""

_FEWEST_PIXELS = 8


class Object(NamedTuple):
    """One labelled object: its visible part."""

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
    """Far ones first. Hidden objects and those of a few pixels are left out."""

    classes: Tensor
    """(H, W) int64, indices into CLASSES."""


def visible_objects(owners: npt.NDArray[np.int32], labels: tuple[str, ...]) -> tuple[Object, ...]:
    """Objects from an instance map (H, W): 0 is background, i the i-th label."""
    found = []
    for index, label in enumerate(labels, start=1):
        mask = owners == index
        if mask.sum() < _FEWEST_PIXELS:
            continue
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        found.append(Object(label, box, torch.from_numpy(mask)))
    return tuple(found)
