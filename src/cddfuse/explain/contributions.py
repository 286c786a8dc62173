"""What each part of a network contributes, and which source the result comes from."""

import torch
import torch.autograd.forward_ad as forward_ad
import torch.nn.functional as F
from torch import Tensor

from cddfuse.filters import gaussian_window
from cddfuse.models.base import Decomposed, FusionModel

_SIGMA = 2.0  # of the window that sensitivities are averaged over, in pixels


def without(found: Decomposed) -> dict[str, Tensor]:
    """The result with each part switched off: its fused features are zero, all others as they are.

    Returns:
        Images (B, 1, H, W) by part.
    """
    fused = {kind: part.fused for kind, part in found.parts.items()}
    return {
        kind: found.join({**fused, kind: torch.zeros_like(features)}, found.residual)
        for kind, features in fused.items()
    }


def without_residual(found: Decomposed) -> Tensor | None:
    """The result (B, 1, H, W) without the residual image; None if there is none."""
    if found.residual is None:
        return None
    return found.join({kind: part.fused for kind, part in found.parts.items()}, None)


def shares(
    model: FusionModel, first: Tensor, second: Tensor, directions: int = 2, seed: int = 0
) -> Tensor | None:
    """Share of the first source in each pixel of the result, by gradient.

    The share is s1 / (s1 + s2), where s1 and s2 are the Euclidean lengths of the gradient of that
    pixel with respect to all pixels of the first and of the second source: 1 follows the first
    source alone, 0 the second. Gradients of all pixels at a time would be too much to compute, so
    the squared lengths are estimated: their mean over random signs v of (J v)^2 is exact, J v is
    the derivative along v, and it is averaged over a Gaussian window of 2 pixels as well.

    Args:
        model: in evaluation mode.
        first: (1, 1, H, W).
        second: likewise.
        directions: random directions for each source; each takes about three runs of the network.
        seed: of the directions.

    Returns:
        (1, 1, H, W) in [0, 1]; NaN where neither source changes the result, as where it is clipped.
        None if the network has no gradient, as those that compute in NumPy.
    """
    random = torch.Generator().manual_seed(seed)
    lengths = []
    for place in (0, 1):
        total = torch.zeros_like(first)
        for _ in range(directions):
            signs = torch.randint(0, 2, first.shape, generator=random).to(first) * 2 - 1
            total += _derivative(model, (first, second), place, signs).square()
        lengths.append(_averaged(total).sqrt())
    if not any(length.any() for length in lengths):
        return None
    return lengths[0] / (lengths[0] + lengths[1])


def _derivative(
    model: FusionModel, pair: tuple[Tensor, Tensor], place: int, along: Tensor
) -> Tensor:
    """Derivative of the result (1, 1, H, W) along a direction of one source."""
    with torch.no_grad(), forward_ad.dual_level():
        inputs = list(pair)
        inputs[place] = forward_ad.make_dual(inputs[place], along)
        tangent = forward_ad.unpack_dual(model(*inputs)).tangent
    return torch.zeros_like(along) if tangent is None else tangent.detach()


def _averaged(values: Tensor) -> Tensor:
    """A Gaussian mean that leaves out what lies outside the image."""
    radius = round(3 * _SIGMA)
    line = gaussian_window(2 * radius + 1, _SIGMA).to(values)
    summed, weight = (_blurred(x, line, radius) for x in (values, torch.ones_like(values)))
    return summed.clamp(min=0) / weight


def _blurred(image: Tensor, line: Tensor, radius: int) -> Tensor:
    image = F.conv2d(image, line[None, None, :, None], padding=(radius, 0))
    return F.conv2d(image, line[None, None, None], padding=(0, radius))
