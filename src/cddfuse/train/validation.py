"""Losses, scores and pictures of pairs that are not trained on."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from cddfuse.datasets.crops import SMALLEST
from cddfuse.errors import InputError
from cddfuse.fuse import full_range, fuse
from cddfuse.io import contact_sheet
from cddfuse.io.files import replacing
from cddfuse.metrics import METRICS, PAPER_EIGHT, score
from cddfuse.models.base import FusionModel
from cddfuse.pair import ImagePair
from cddfuse.recipes import Stage

# Larger images are looked at through a window in the middle. It holds a medical image: attention
# depends on how much of it is background.
_SIDE = 256
_PAIRS, _SHOWN = 16, 4


class Validation:
    """At most sixteen pairs, evenly spread over those given; the middle 256 pixels of each.

    Args:
        pairs: images (1, H, W).
        log_terms: terms of the loss to compute though their weight is 0.
        multiple: of what the sides of an image have to be multiples; the pixels beyond are cut off.

    Raises:
        InputError: a pair is too small.
    """

    def __init__(
        self, pairs: Sequence[ImagePair], log_terms: Sequence[str] = (), multiple: int = 1
    ) -> None:
        self._log_terms = log_terms
        every = -(-len(pairs) // _PAIRS) or 1
        self.pairs = [_middle(pairs[index], multiple) for index in range(0, len(pairs), every)]

    @torch.no_grad()
    def losses(self, model: FusionModel, stage: Stage) -> dict[str, float]:
        """Means of the stage's terms over the pairs, and their weighted sum as `total`."""
        device = next(model.parameters()).device
        rows: list[dict[str, Tensor]] = []
        for pair in self.pairs:
            batch = ImagePair(pair.first[None].to(device), pair.second[None].to(device))
            rows.append(stage.losses(model, batch, self._log_terms))
        means = {name: float(torch.stack([row[name] for row in rows]).mean()) for name in rows[0]}
        means["total"] = sum(weight * means[name] for name, weight in stage.counting.items())
        return means

    def look(self, model: FusionModel, sheet: Path) -> dict[str, float]:
        """Fuse all pairs, draw a few, and score all as published tables do (with the stretch)."""
        fused = [fuse(model, pair) for pair in self.pairs]
        every = -(-len(self.pairs) // _SHOWN)
        shown = list(zip(self.pairs, fused, strict=True))[::every]
        picture = contact_sheet(
            [(pair.first, pair.second, image) for pair, image in shown],
            headings=("first", "second", "fused"),
            names=[pair.name for pair, _ in shown],
        )
        with replacing(sheet) as temporary:
            picture.save(temporary)
        return _scores(fused, self.pairs)


def _scores(fused: Sequence[Tensor], pairs: Sequence[ImagePair]) -> dict[str, float]:
    """Means of the eight scores of published tables, those that images of this size can have."""
    side = min(min(image.shape[-2:]) for image in fused)
    names = [name for name in PAPER_EIGHT if METRICS[name].smallest <= side]
    rows = [
        score(full_range(image)[None], pair.first[None], pair.second[None], names)
        for image, pair in zip(fused, pairs, strict=True)
    ]
    return {name: float(torch.cat([row[name] for row in rows]).nanmean()) for name in names}


def _middle(pair: ImagePair, multiple: int) -> ImagePair:
    least = max(multiple, SMALLEST)
    if min(pair.first.shape[-2:]) < least:
        raise InputError(
            f"the validation pair {pair.name} is smaller than {least} pixels: leave it out.", "val"
        )
    sides = (min(side, _SIDE) for side in pair.first.shape[-2:])
    height, width = (side - side % multiple for side in sides)
    top, left = ((pair.first.shape[-2] - height) // 2, (pair.first.shape[-1] - width) // 2)
    window = (..., slice(top, top + height), slice(left, left + width))
    return ImagePair(pair.first[window], pair.second[window], pair.name)
