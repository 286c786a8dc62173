"""How a network is run over an image."""

import torch.nn.functional as F
from torch import Tensor

from cddfuse.models.base import FusionModel


def run(model: FusionModel, first: Tensor, second: Tensor) -> Tensor:
    """Run a network over images (B, 1, H, W) of any size; the result has that size.

    Images whose sides the network cannot take are padded at the right and below, by reflection, or
    by repeating the border where there is too little to reflect.
    """
    height, width = first.shape[-2:]
    right, below = (_missing(side, model) for side in (width, height))
    if right or below:
        mode = "reflect" if right < width and below < height else "replicate"
        first, second = (F.pad(x, (0, right, 0, below), mode=mode) for x in (first, second))
    return model(first, second)[..., :height, :width]


def _missing(side: int, model: FusionModel) -> int:
    """Pixels between a side and the next one that the network can take."""
    multiple = model.card.multiple_of
    wanted = max(side, model.card.smallest)
    return -(-wanted // multiple) * multiple - side
