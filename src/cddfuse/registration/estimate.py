"""Find the transform between two images of one scene in different modalities.

A search on small images gives a few starts, Gauss-Newton improves each, and the best correlation of
descriptors wins. A similarity is found first; affine transforms and homographies start from it.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from cddfuse import colour
from cddfuse.errors import InputError
from cddfuse.pair import ImagePair
from cddfuse.registration import geometry
from cddfuse.registration.descriptor import correlation, mind
from cddfuse.registration.geometry import Size
from cddfuse.registration.refine import Kind, refine
from cddfuse.registration.search import starts
from cddfuse.registration.transform import Transform

CONFIDENT = 0.15
"""Correlation of descriptors below which a result is not to be trusted."""

# Below these, the pair is also aligned the other way round, and both have to agree.
_SURE = 0.25  # confidence
_CLEAR = 0.02  # by how much the best start beats the others
_RETURN = 2.0  # pixels between there and back that are accepted
_SEARCH, _REFINE = 200, 320  # longer side of the images in pixels
_LARGEST = 3  # times the longer side that the first image may be if the second shows less
_SMALLEST = 32  # shorter side of images that can be aligned
_ITERATIONS = 14, 25  # at most, of each start and level, and at the end
_OVERLAP = 0.4  # share of the smaller image that has to be covered
_SCALES = 0.6, 1.6  # of areas, in those of the nominal scale
_APART = 3.0  # pixels of the small images, between results that differ


@dataclass(frozen=True)
class Alignment:
    """A transform, and how far it can be trusted."""

    transform: Transform

    gap: float
    """By how much its correlation exceeds that of the best other result."""

    there_and_back: float | None = None
    """Pixels by which aligning the other way round contradicts it; None where that was not needed,
    as the confidence and the gap are large, or not tried, as the confidence is too small."""

    @property
    def doubt(self) -> str:
        """Why not to trust it, as a part of a sentence; empty if it can be trusted."""
        confidence = self.transform.confidence or 0.0
        if confidence < CONFIDENT:
            return f"the confidence is {confidence:.2f}, where {CONFIDENT} is needed"
        if self.there_and_back is not None and self.there_and_back > _RETURN:
            return f"aligning the other way round differs by {self.there_and_back:.0f} px"
        return ""


@torch.inference_mode()
def align(pair: ImagePair, kind: Kind = "similarity", scale: float | None = None) -> Alignment:
    """Find where the second image of a pair lies in the first.

    Rotations up to about 6 degrees, scales that differ by 12 % from the nominal one, and shifts up
    to 13 % of the longer side are found.

    Args:
        pair: images (C, H, W) in [0, 1], of any size.
        kind: what the transform may be.
        scale: pixels of the first image per pixel of the second; by default both show the same
            width of the scene.

    Raises:
        InputError: an image is too small or has no structure.
    """
    images = [colour.luma(image)[None].float() for image in pair[:2]]
    _check(images, pair.name)
    sizes = [(image.shape[-2], image.shape[-1]) for image in images]
    nominal = _nominal(sizes[0], sizes[1], scale)
    found = _locate(images[0], images[1], nominal, kind)
    if found is None:
        raise InputError(
            f"{_label(pair.name)}no transform within reach fits the two images: check that they "
            "show one scene, or give the scale or points.",
            setting=("scale", "points"),
        )
    transform = Transform.of(found.kind, found.matrix, sizes[0], sizes[1])
    transform = replace(transform, confidence=round(found.confidence, 4))
    back = None
    if found.confidence >= CONFIDENT and (found.gap < _CLEAR or found.confidence < _SURE):
        other = _locate(images[1], images[0], nominal.inverse(), "similarity")
        back = float("inf")
        if other is not None:
            way = other.matrix @ found.matrix
            back = float(geometry.distance(way, torch.eye(3, dtype=way.dtype), sizes[0]))
    return Alignment(transform, found.gap, back)


class _Found(NamedTuple):
    matrix: Tensor
    kind: Kind
    confidence: float
    gap: float


class _Working(NamedTuple):
    """Both images at the size they are worked on, with the matrices to their pixels."""

    first: Tensor
    second: Tensor
    from_first: Tensor
    from_second: Tensor

    def inward(self, matrix: Tensor) -> Tensor:
        return self.from_second @ matrix @ self.from_first.inverse()

    def outward(self, matrix: Tensor) -> Tensor:
        return self.from_second.inverse() @ matrix @ self.from_first


def _locate(first: Tensor, second: Tensor, nominal: Tensor, kind: Kind) -> _Found | None:
    work = _working(first, second, nominal, _SEARCH)
    found = work.outward(starts(work.first, work.second, work.inward(nominal)))
    for longest in (_REFINE // 2, _REFINE):
        work = _working(first, second, nominal, longest)
        one, other = mind(work.first), mind(work.second)
        moved = refine(one, other, work.inward(found), "similarity", _ITERATIONS[0])
        found = work.outward(moved)
    scores = _scores(one, other, moved, work.inward(nominal))
    order = scores.argsort(descending=True)
    best = int(order[0])
    if scores[best] <= -1:
        return None
    size: Size = (one.shape[-2], one.shape[-1])
    matrix = refine(one, other, moved[best : best + 1], "similarity", _ITERATIONS[1])
    confidence = float(_scores(one, other, matrix, work.inward(nominal))[0])
    reached: Kind = "similarity"
    if kind != "similarity":
        wider = refine(one, other, matrix, "affine", _ITERATIONS[1])
        if kind == "homography":
            wider = refine(one, other, wider, "homography", _ITERATIONS[1])
        better = float(_scores(one, other, wider, work.inward(nominal))[0])
        if better > confidence:
            matrix, confidence, reached = wider, better, kind
    apart = geometry.distance(moved, matrix, size) > _APART
    rival = float(scores[apart].max()) if apart.any() else confidence / 2
    return _Found(work.outward(matrix)[0], reached, confidence, confidence - rival)


def _scores(one: Tensor, other: Tensor, matrices: Tensor, nominal: Tensor) -> Tensor:
    """Correlation of the descriptors under each matrix (B, 3, 3); -1 where it is absurd."""
    size: Size = (one.shape[-2], one.shape[-1])
    drawn, mask = geometry.sampled(other, matrices, size)
    scores = correlation(one, drawn, mask).double()
    areas = torch.linalg.det(matrices[:, :2, :2]) / torch.linalg.det(nominal[:2, :2])
    least = _OVERLAP * min(one[0, 0].numel(), other[0, 0].numel())
    good = (mask.sum((1, 2, 3)) >= least) & (areas > _SCALES[0]) & (areas < _SCALES[1])
    good &= matrices.isfinite().all(2).all(1) & scores.isfinite()
    return torch.where(good, scores, -torch.ones_like(scores))


def _working(first: Tensor, second: Tensor, nominal: Tensor, longest: int) -> _Working:
    """The images with pixels of one size, of `longest` over the longer side of what both show."""
    sizes = [(image.shape[-2], image.shape[-1]) for image in (first, second)]
    pixel = 1 / float(torch.linalg.det(nominal[:2, :2]).abs().sqrt())  # of the second, in the first
    shared = min(max(sizes[0]), pixel * max(sizes[1]))
    coarse = max(1.0, pixel, shared / longest, max(sizes[0]) / (_LARGEST * longest))
    one, from_first = geometry.scaled(first, 1 / coarse)
    other, from_second = geometry.scaled(second, pixel / coarse)
    return _Working(one, other, from_first, from_second)


def _nominal(first: Size, second: Size, scale: float | None) -> Tensor:
    """The matrix that puts the second image on the centre of the first."""
    pixels = first[1] / second[1] if scale is None else scale
    if not 1 / 64 <= pixels <= 64:
        raise InputError(
            f"{pixels:g} is no scale: give the pixels of the first image per pixel of the second, "
            "from 1/64 to 64.",
            setting="scale",
        )
    x, y = geometry.centre(first)
    u, v = geometry.centre(second)
    zoom = geometry.matrix([[1 / pixels, 0, 0], [0, 1 / pixels, 0], [0, 0, 1]])
    return geometry.translation(u, v) @ zoom @ geometry.translation(-x, -y)


def _check(images: list[Tensor], name: str) -> None:
    for side, image in zip(("first", "second"), images, strict=True):
        if min(image.shape[-2:]) < _SMALLEST:
            raise InputError(
                f"{_label(name)}the {side} image is {image.shape[-1]}x{image.shape[-2]}: images of "
                f"{_SMALLEST} pixels a side or more can be aligned."
            )
        if not image.isfinite().all() or image.max() == image.min():
            raise InputError(
                f"{_label(name)}the {side} image has the same value everywhere: give an image with "
                "structure, or points.",
                setting="points",
            )


def _label(name: str) -> str:
    return f"pair {name}: " if name else ""
