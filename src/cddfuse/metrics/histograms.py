"""Histograms, joint histograms and their entropies.

They have no gradients, so metrics built on them cannot serve as losses.
"""

from functools import partial

import torch
from torch import Tensor

from cddfuse.metrics.loops import loops, of_each
from cddfuse.threads import parallel_map

_LEVELS = 256


def histogram(image: Tensor) -> Tensor:
    """Normalised histogram of integer levels 0 to 255: (..., B, 1, H, W) to (..., B, 256)."""
    if compiled := loops(image):
        return _normalised(of_each(compiled.counts, image))
    return _counted(image, _LEVELS)


def joint_histogram(x: Tensor, y: Tensor) -> Tensor:
    """Normalised joint histogram: (..., B, 256, 256), levels of x first."""
    if compiled := loops(x, y):
        p = _normalised(of_each(compiled.pair_counts, x, y))
    else:
        p = _counted(x * _LEVELS + y, _LEVELS**2)
    return p.unflatten(-1, (_LEVELS, _LEVELS))


def pair_entropies(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """H(X) + H(Y) and the mutual information I(X; Y), in nats.

    Args:
        x: (B, 1, H, W), integer grey levels from 0 to 255.
        y: like x, or with more leading dimensions: (..., B, 1, H, W).

    Returns:
        Each (..., B); the information is at least 0.
    """
    joint = joint_histogram(x, y)
    h = nats(joint.sum(-1)) + nats(joint.sum(-2))
    return h, (h - nats(joint.flatten(-2))).clamp(min=0)


def nats(p: Tensor) -> Tensor:
    """Entropy of probabilities (..., N): (...)."""
    return -torch.xlogy(p, p).sum(-1) + 0.0  # the sum for a constant image is -0.0


def _counted(bins: Tensor, size: int) -> Tensor:
    flat = bins.flatten(-3).int()
    counts = parallel_map(partial(torch.bincount, minlength=size), flat.reshape(-1, flat.shape[-1]))
    return _normalised(torch.stack(counts).unflatten(0, flat.shape[:-1]).double())


def _normalised(counts: Tensor) -> Tensor:
    return counts / counts.sum(-1, keepdim=True)
