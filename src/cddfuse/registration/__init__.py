"""Registration: where the second image of a pair lies in the first, in pure PyTorch."""

from cddfuse.registration.board import checkerboard
from cddfuse.registration.check import Offset, offset
from cddfuse.registration.estimate import CONFIDENT, Alignment, align
from cddfuse.registration.points import from_points
from cddfuse.registration.refine import Kind
from cddfuse.registration.transform import Drawn, Transform, draw

__all__ = [
    "CONFIDENT",
    "Alignment",
    "Drawn",
    "Kind",
    "Offset",
    "Transform",
    "align",
    "checkerboard",
    "draw",
    "from_points",
    "offset",
]
