"""Search over rotations, scales and shifts: where to start a refinement."""

import torch
from torch import Tensor

from cddfuse.registration import geometry
from cddfuse.registration.descriptor import mind
from cddfuse.registration.geometry import Size

_SIGMA = 1.5
_ROTATIONS = torch.arange(-6, 6.1, 1.5, dtype=torch.float64).deg2rad().tolist()
_SCALES = torch.arange(0.88, 1.121, 0.03, dtype=torch.float64).tolist()
_FARTHEST = 0.13  # largest shift, in longer sides
_APART = 4.0  # pixels at the corners, between two starts


def starts(first: Tensor, second: Tensor, nominal: Tensor, count: int = 4) -> Tensor:
    """The most promising transforms, (at most `count`, 3, 3), best first.

    Shifts are found by correlation in the frequency domain.

    Args:
        first: (1, 1, H, W), about 200 pixels wide.
        second: (1, 1, H', W'), in pixels of the same size.
        nominal: matrix from the first to the second, around which is searched.
        count: how many.
    """
    size: Size = (first.shape[-2], first.shape[-1])
    window = _window(size)
    one, other = (x - x.mean((-2, -1), keepdim=True) for x in map(_describe, (first, second)))
    one = one * window
    spectrum = torch.fft.rfft2(one).conj()
    reach = int(max(size) * _FARTHEST) + 2
    found = []
    for angle in _ROTATIONS:
        turned = torch.stack([nominal @ _similarity(angle, scale, size) for scale in _SCALES])
        drawn = geometry.sampled(other, turned, size)[0] * window
        surface = torch.fft.irfft2((spectrum * torch.fft.rfft2(drawn)).sum(1), s=size)
        surface = surface / (one.norm() * drawn.flatten(1).norm(dim=1)[:, None, None] + 1e-9)
        surface = surface.roll((reach, reach), (1, 2))[:, : 2 * reach + 1, : 2 * reach + 1]
        best, place = surface.flatten(1).max(1)
        down, right = place // surface.shape[2] - reach, place % surface.shape[2] - reach
        found += [
            (score, start @ geometry.translation(x, y))
            for score, start, x, y in zip(
                best.tolist(), turned, right.tolist(), down.tolist(), strict=True
            )
        ]
    return _distinct([start for _, start in sorted(found, key=lambda f: -f[0])], size, count)


def _describe(image: Tensor) -> Tensor:
    return mind(image, _SIGMA)


def _window(size: Size) -> Tensor:
    """Fades the borders out, so that they are not what matches."""
    sides = [torch.hann_window(side + 2, periodic=False)[1:-1].sqrt() for side in size]
    return sides[0][:, None] * sides[1]


def _similarity(angle: float, scale: float, size: Size) -> Tensor:
    """Rotation and scaling about the centre."""
    turn = torch.tensor(angle, dtype=torch.float64)
    c, s = scale * float(turn.cos()), scale * float(turn.sin())
    x, y = geometry.centre(size)
    turned = geometry.matrix([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    return geometry.translation(x, y) @ turned @ geometry.translation(-x, -y)


def _distinct(ordered: list[Tensor], size: Size, count: int) -> Tensor:
    """The first ones that differ."""
    kept: list[Tensor] = []
    corners = geometry.corners(size)
    for start in ordered:
        away = [
            float(
                (geometry.mapped(start, corners) - geometry.mapped(one, corners))
                .norm(dim=-1)
                .mean()
            )
            for one in kept
        ]
        if min(away, default=_APART) >= _APART:
            kept.append(start)
        if len(kept) == count:
            break
    return torch.stack(kept)
