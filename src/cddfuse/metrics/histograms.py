"""Shares of grey levels and of pairs of them, which entropies are made of.

Counting has no gradient: what is built on it cannot serve as a loss.
"""

from functools import partial

import torch
from torch import Tensor

from cddfuse.metrics.loops import loops, of_each
from cddfuse.threads import parallel_map

_LEVELS = 256


def histogram(image: Tensor) -> Tensor:
    """Share of pixels at each whole level 0 to 255: (..., B, 1, H, W) to (..., B, 256)."""
    if compiled := loops(image):
        return _normalised(of_each(compiled.counts, image))
    return _shares(image, _LEVELS)


def joint_histogram(x: Tensor, y: Tensor) -> Tensor:
    """Share of pixels at each pair of levels: (..., B, 256, 256), levels of x first."""
    if compiled := loops(x, y):
        shares = _normalised(of_each(compiled.pair_counts, x, y))
    else:
        shares = _shares(x * _LEVELS + y, _LEVELS**2)
    return shares.unflatten(-1, (_LEVELS, _LEVELS))


def pair_entropies(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of the entropies of two images, and the information that they share, in nats.

    Args:
        x: (B, 1, H, W), whole grey levels from 0 to 255.
        y: like x, or with more dimensions in front: (..., B, 1, H, W).

    Returns:
        Each (..., B); the information is at least 0.
    """
    joint = joint_histogram(x, y)
    both = nats(joint.sum(-1)) + nats(joint.sum(-2))
    return both, (both - nats(joint.flatten(-2))).clamp(min=0)


def nats(shares: Tensor) -> Tensor:
    """Entropy of shares (..., N): (...)."""
    return -torch.xlogy(shares, shares).sum(-1) + 0.0  # the sum of a flat image is -0.0


def _shares(cells: Tensor, size: int) -> Tensor:
    flat = cells.flatten(-3).int()
    counts = parallel_map(partial(torch.bincount, minlength=size), flat.reshape(-1, flat.shape[-1]))
    return _normalised(torch.stack(counts).unflatten(0, flat.shape[:-1]).double())


def _normalised(counts: Tensor) -> Tensor:
    return counts / counts.sum(-1, keepdim=True)
