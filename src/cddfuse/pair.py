"""The one thing every part of the package talks about: two registered images of one scene."""

from typing import NamedTuple

from torch import Tensor


class ImagePair(NamedTuple):
    """Two images of the same scene, already registered, float32 in [0, 1].

    A batch of pairs is an ImagePair too: the default collate of PyTorch stacks the fields,
    so (C, H, W) becomes (B, C, H, W) and nothing else changes.
    """

    first: Tensor
    """(C, H, W), C is 1 or 3. The image that may carry colour: visible, PET, SPECT."""

    second: Tensor
    """(C, H, W). Infrared, MRI."""

    name: str = ""
    """What results are filed under: the stem of the file, the number of the slice or frame."""
