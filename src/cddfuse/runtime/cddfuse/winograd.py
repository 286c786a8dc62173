"""3x3 convolutions of many channels with 4 multiplications instead of 9 for each result.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016), F(2 x 2, 3 x 3): of
4 x 4 pixels sums and differences are taken, down and across; sixteen matrices, one for each place,
make of them what sums and differences, across and down, turn into 2 x 2 results. Nothing is divided
but the weights, by 2 and by 4, so that hardly any precision is lost.
"""

import numpy as np

from cddfuse.runtime.cddfuse.jit import FIRST, part
from cddfuse.runtime.cddfuse.products import multiply

PAIRS = 2
"""Pairs of rows that are computed at a time, so that the matrices are loaded less often."""

# For each place down the sums and differences: the two of four rows that they are of, the sign of
# the second one, and what the place gives to each of two rows of results.
_ROW, _OTHER = (0, 1, 2, 1), (2, 2, 1, 3)
_SIGN = tuple(map(np.float32, (-1, 1, -1, -1)))
_GIVES = tuple(map(np.float32, (1, 1, 1, 0))), tuple(map(np.float32, (0, 1, -1, -1)))


@part()
def convolve_rows(rows, matrices, spread, parts, out):
    """2 * PAIRS rows of a convolution.

    Args:
        rows: of the map, one more above and below, one column more left and right: (2 * PAIRS + 2,
            columns + 2, inputs); columns are even.
        matrices: as `cpu_layers.transformed` makes them.
        spread: room for (4, PAIRS, columns / 2, inputs).
        parts: room for (4, PAIRS, columns / 2, outputs).
        out: (PAIRS, 2, columns, outputs).
    """
    _, pairs, tiles, channels = spread.shape
    wide = parts.shape[3]
    out[:] = 0
    for u in range(4):
        for p in range(pairs):
            one, other = rows[2 * p + _ROW[u]], rows[2 * p + _OTHER[u]]
            _spread(one, other, _SIGN[u], p, spread)
        for v in range(4):
            of_v = spread[v].reshape((pairs * tiles, channels))
            multiply(
                of_v, FIRST, matrices[u, v], parts[v].reshape((pairs * tiles, wide)), len(of_v)
            )
        for p in range(pairs):
            for h in range(2):
                if _GIVES[h][u] != 0:
                    _gather(parts, p, _GIVES[h][u], out[p, h])


@part(fastmath={"contract"})
def _spread(x, y, sign, p, out):
    _, _, tiles, channels = out.shape
    x, y = x.reshape((tiles + 1, 2, channels)), y.reshape((tiles + 1, 2, channels))
    for c in range(tiles):
        for k in range(channels):
            d0 = x[c, 0, k] + sign * y[c, 0, k]
            d1 = x[c, 1, k] + sign * y[c, 1, k]
            d2 = x[c + 1, 0, k] + sign * y[c + 1, 0, k]
            d3 = x[c + 1, 1, k] + sign * y[c + 1, 1, k]
            out[0, p, c, k] = d0 - d2
            out[1, p, c, k] = d1 + d2
            out[2, p, c, k] = d2 - d1
            out[3, p, c, k] = d1 - d3


@part(fastmath={"contract"})
def _gather(parts, p, sign, row):
    """Add what the places of a row give, two columns at a time, to a row of results."""
    _, _, tiles, channels = parts.shape
    row = row.reshape((tiles, 2, channels))
    # A loop for each column: several at once, at like addresses, hinder each other in the cache.
    for c in range(tiles):
        for k in range(channels):
            row[c, 0, k] += sign * (parts[0, p, c, k] + parts[1, p, c, k] + parts[2, p, c, k])
        for k in range(channels):
            row[c, 1, k] += sign * (parts[1, p, c, k] - parts[2, p, c, k] - parts[3, p, c, k])
