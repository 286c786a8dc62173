"""3x3 convolutions of many channels with 4 multiplications instead of 9 for each result.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016), F(2 x 2, 3 x 3): of
4 x 4 pixels sums and differences are taken, down and across; sixteen matrices, one for each place,
make of them what sums and differences, across and down, turn into 2 x 2 results. Nothing is divided
but the weights, by 2 and by 4, so that hardly any precision is lost.
"""

import numpy as np
import torch
from numba import njit
from torch import Tensor

from cddfuse.runtime.cddfuse.products import multiply, panels

PAIRS = 2
"""Pairs of rows that are computed at a time, so that the matrices are loaded less often."""

_HALVES = torch.tensor([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])


def transformed(weight: Tensor) -> np.ndarray:
    """The matrices of a convolution (outputs, inputs, 3, 3): (down, across, and as in `panels`)."""
    weight = weight.detach().cpu().double()
    halves = _HALVES.double()
    matrices = torch.einsum("ur,oirc,vc->uvio", halves, weight, halves).float().numpy()
    return np.stack([[panels(matrix) for matrix in row] for row in matrices])


@njit(nogil=True, cache=True)
def convolve_rows(rows, matrices, spread, parts, out):
    """2 * PAIRS rows of a convolution.

    Args:
        rows: of the map, one more above and below, one column more left and right: (2 * PAIRS + 2,
            columns + 2, inputs); columns are even.
        matrices: as `transformed` makes them.
        spread: room for (4, PAIRS, columns / 2, inputs).
        parts: room for (4, PAIRS, columns / 2, outputs).
        out: (PAIRS, 2, columns, outputs).
    """
    _, pairs, tiles, channels = spread.shape
    wide = parts.shape[3]
    out[:] = 0
    for u in range(4):
        for p in range(pairs):
            a, b, c, d = rows[2 * p], rows[2 * p + 1], rows[2 * p + 2], rows[2 * p + 3]
            if u == 0:
                _spread(a, c, -1, p, spread)
            elif u == 1:
                _spread(b, c, 1, p, spread)
            elif u == 2:
                _spread(c, b, -1, p, spread)
            else:
                _spread(b, d, -1, p, spread)
        for v in range(4):
            of_v = spread[v].reshape((pairs * tiles, channels))
            multiply(of_v, 0, matrices[u, v], parts[v].reshape((pairs * tiles, wide)), len(of_v))
        for p in range(pairs):
            if u < 3:
                _gather(parts, p, 1, out[p, 0])
            if u > 0:
                _gather(parts, p, 1 if u == 1 else -1, out[p, 1])


@njit(nogil=True, cache=True, fastmath={"contract"})
def _spread(x, y, sign, p, out):
    _, _, tiles, channels = out.shape
    x, y = x.reshape((tiles + 1, 2, channels)), y.reshape((tiles + 1, 2, channels))
    s = np.float32(sign)
    for c in range(tiles):
        for k in range(channels):
            d0 = x[c, 0, k] + s * y[c, 0, k]
            d1 = x[c, 1, k] + s * y[c, 1, k]
            d2 = x[c + 1, 0, k] + s * y[c + 1, 0, k]
            d3 = x[c + 1, 1, k] + s * y[c + 1, 1, k]
            out[0, p, c, k] = d0 - d2
            out[1, p, c, k] = d1 + d2
            out[2, p, c, k] = d2 - d1
            out[3, p, c, k] = d1 - d3


@njit(nogil=True, cache=True, fastmath={"contract"})
def _gather(parts, p, sign, row):
    """Add what the places of a row give, two columns at a time, to a row of results."""
    _, _, tiles, channels = parts.shape
    row = row.reshape((tiles, 2, channels))
    s = np.float32(sign)
    # A loop for each column: several at once, at like addresses, hinder each other in the cache.
    for c in range(tiles):
        for k in range(channels):
            row[c, 0, k] += s * (parts[0, p, c, k] + parts[1, p, c, k] + parts[2, p, c, k])
        for k in range(channels):
            row[c, 1, k] += s * (parts[1, p, c, k] - parts[2, p, c, k] - parts[3, p, c, k])
