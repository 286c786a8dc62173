"""The parts of a pair inside a network, and how alike those of both modalities are."""

import torch
import torch.nn.functional as F
from torch import Tensor

from cddfuse.errors import InputError
from cddfuse.models import MODELS
from cddfuse.models.base import Decomposed, FusionModel

MARGIN = 8  # pixels of the image at its border that `correlation_inside` leaves out


def decomposing() -> list[str]:
    """Names of the networks of the zoo that take a pair apart."""
    return [name for name, kind in MODELS.items() if decomposes(kind)]


def decomposes(kind: type[FusionModel]) -> bool:
    """Whether a network says what its parts are."""
    return kind.decomposed is not FusionModel.decomposed


def require_decomposing(model: FusionModel) -> None:
    """Refuse a network without parts, before any image is read."""
    if not decomposes(type(model)):
        raise InputError(
            f"{model.card.name} does not take images apart into features of several kinds, so "
            f"there is nothing to explain: use {', '.join(decomposing())}.",
            setting="model",
        )


def taken_apart(model: FusionModel, first: Tensor, second: Tensor) -> Decomposed:
    """The parts of a pair (B, 1, H, W) and (B, 1, H, W) in [0, 1]."""
    require_decomposing(model)
    found = model.decomposed(first, second)
    if found is None:
        raise InputError(
            f"{model.card.name} has no parts with these options: use others.", setting="option"
        )
    return found


def correlations(one: Tensor, two: Tensor) -> Tensor:
    """Pearson correlation over the pixels, channel by channel.

    Their mean is the correlation of the decomposition loss (`cddfuse.losses.correlation`), apart
    from channels that are constant in one of both: they count as 0 there and are NaN here.

    Args:
        one: (B, C, H, W).
        two: likewise.

    Returns:
        (B, C), in [-1, 1].
    """
    one, two = (x.flatten(2).double() for x in (one, two))
    one, two = (x - x.mean(-1, keepdim=True) for x in (one, two))
    spread = (one.square().sum(-1) * two.square().sum(-1)).sqrt()
    return ((one * two).sum(-1) / spread).clamp(-1, 1)


def channel_mean(features: Tensor, height: int, width: int, border: int = 0) -> Tensor:
    """Mean over channels at the size of the image: (B, C, h, w) to (B, 1, height, width)."""
    mean = cropped(features, border).mean(1, keepdim=True)
    if mean.shape[-2:] == (height, width):
        return mean
    return F.interpolate(mean, (height, width), mode="nearest")


def cropped(features: Tensor, border: int) -> Tensor:
    """Without so many rows and columns on every side; may be empty."""
    inside = slice(border, -border or None)
    return features[..., inside, inside]


def displayed(*maps: Tensor) -> list[Tensor]:
    """Maps as images in [0, 1], on one scale: percentiles 1 and 99 of all become black and white.

    Maps of a single value become mid-grey.
    """
    values = torch.cat([x.flatten() for x in maps]).double().sort().values
    low, high = (values[round(share * (len(values) - 1))] for share in (0.01, 0.99))
    if high <= low:
        return [torch.full_like(x, 0.5) for x in maps]
    return [((x - low) / (high - low)).clamp(0, 1).float() for x in maps]
