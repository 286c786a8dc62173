"""Shares of grey levels and of pairs of them, which entropies are made of.

Counting has no gradient: what is built on it cannot serve as a loss.
"""

from functools import partial

import torch
from torch import Tensor

from cddfuse.metrics.threads import over

_LEVELS = 256


def histogram(image: Tensor) -> Tensor:
    """Share of pixels at each whole level 0 to 255: (..., B, 1, H, W) to (..., B, 256)."""
    return _shares(image, _LEVELS)


def joint_histogram(x: Tensor, y: Tensor) -> Tensor:
    """Share of pixels at each pair of levels: (..., B, 256, 256), levels of x first."""
    return _shares(x * _LEVELS + y, _LEVELS**2).unflatten(-1, (_LEVELS, _LEVELS))


def nats(shares: Tensor) -> Tensor:
    """Entropy of shares (..., N): (...)."""
    return -torch.xlogy(shares, shares).sum(-1) + 0.0  # the sum of a flat image is -0.0


def _shares(cells: Tensor, size: int) -> Tensor:
    flat = cells.flatten(-3).int()
    counts = over(partial(torch.bincount, minlength=size), flat.reshape(-1, flat.shape[-1]))
    return torch.stack(counts).unflatten(0, flat.shape[:-1]).double() / flat.shape[-1]
