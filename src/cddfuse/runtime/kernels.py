"""The layers of CDDFuse over a patch, a row of pixels at a time, compiled by Numba for CPUs.

Three rows of what is wide are kept, as every layer looks one pixel far; all of it stays in the
cache. Every kernel takes a map x, (H, W, channels), a patch of it (top, left, bottom, right), and
at the end the map that gets the result at the same place, which it may `add` to what is there.

Arrays are float32 and contiguous. An index is never more than a variable or a number plus a number,
or compiled code takes its slow path: hence the axes for halves and pairs.
"""

import math

import numpy as np
from numba import njit
from numpy.polynomial import chebyshev

from cddfuse.runtime.products import multiply, multiply_three, squares_of_heads

# Sums may be reordered and products fused; NaN and infinity keep their meaning.
_MATH = {"reassoc", "contract", "nsz", "arcp"}
_ONE, _HALF, _SIX, _ZERO = (np.float32(value) for value in (1, 0.5, 6, 0))
_TINY = np.float32(1e-5)

# erf(z) / z as a polynomial of z^2 in [0, 4^2], to 3e-7 of erf: libraries have no fast erf.
_EDGE = np.float32(4)
_POINTS = (1 - np.cos(np.pi * (np.arange(256) + 0.5) / 256)) / 2 * 16
_ROOTS = np.sqrt(_POINTS)
_ERF = [math.erf(z) / z for z in _ROOTS]
_FIT = chebyshev.cheb2poly(chebyshev.chebfit(_POINTS / 8 - 1, _ERF, 14)).astype(np.float32)
(_P0, _P1, _P2, _P3, _P4, _P5, _P6, _P7, _P8, _P9, _P10, _P11, _P12, _P13, _P14) = _FIT
_HALF_ROOT, _EIGHTH = np.float32(math.sqrt(0.5)), np.float32(0.125)


@njit(inline="always", fastmath=_MATH)
def _gelu(x):
    z = min(max(x * _HALF_ROOT, -_EDGE), _EDGE)
    t = z * z * _EIGHTH - _ONE
    p = ((((((_P14 * t + _P13) * t + _P12) * t + _P11) * t + _P10) * t + _P9) * t + _P8) * t + _P7
    p = ((((((p * t + _P6) * t + _P5) * t + _P4) * t + _P3) * t + _P2) * t + _P1) * t + _P0
    return x * _HALF * (_ONE + z * p)


@njit(inline="always", fastmath=_MATH)
def _relu6(x):
    return min(max(x, _ZERO), _SIX)


# Rows of pixels. `i` is a row of the map, which may lie outside, `left` the first column.


@njit(nogil=True, cache=True, fastmath=_MATH)
def norm_row(x, i, left, weight, bias, out):
    """Layer norm over the channels of every pixel; zeros outside."""
    height, width, channels = x.shape
    share = _ONE / np.float32(channels)
    for c in range(out.shape[0]):
        j = left + c
        if i < 0 or i >= height or j < 0 or j >= width:
            for k in range(channels):
                out[c, k] = _ZERO
            continue
        total = _ZERO
        for k in range(channels):
            total += x[i, j, k]
        mean = total * share
        squares = _ZERO
        for k in range(channels):
            squares += (x[i, j, k] - mean) * (x[i, j, k] - mean)
        scale = _ONE / np.sqrt(squares * share + _TINY)
        for k in range(channels):
            out[c, k] = (x[i, j, k] - mean) * scale * weight[k] + bias[k]


@njit(nogil=True, cache=True)
def load_row(x, i, left, mirrored, out):
    """Pixels; outside zeros, or the mirror image."""
    height, width, channels = x.shape
    if mirrored:
        i = _mirrored(i, height)
    for c in range(out.shape[0]):
        j = left + c
        if mirrored:
            j = _mirrored(j, width)
        if i < 0 or i >= height or j < 0 or j >= width:
            for k in range(channels):
                out[c, k] = _ZERO
        else:
            for k in range(channels):
                out[c, k] = x[i, j, k]


@njit(inline="always")
def _mirrored(i, length):
    i = abs(i)
    return i if i < length else 2 * length - 2 - i


@njit(nogil=True, cache=True, fastmath=_MATH)
def put_row(result, x, i, left, right, shortcut, add, out):
    """Place a result in a map, or add it to what is there; with a shortcut, x is added too."""
    channels = out.shape[2]
    for c in range(right - left):
        j = left + c
        if shortcut and add:
            for k in range(channels):
                out[i, j, k] += result[c, k] + x[i, j, k]
        elif shortcut:
            for k in range(channels):
                out[i, j, k] = result[c, k] + x[i, j, k]
        elif add:
            for k in range(channels):
                out[i, j, k] += result[c, k]
        else:
            for k in range(channels):
                out[i, j, k] = result[c, k]


@njit(inline="always", fastmath=_MATH)
def _two(x, y, z, weight, c, h, k):
    """Depthwise 3x3 convolution at two columns, which share what they load."""
    x1, x2 = x[c + 1, h, k], x[c + 2, h, k]
    y1, y2 = y[c + 1, h, k], y[c + 2, h, k]
    z1, z2 = z[c + 1, h, k], z[c + 2, h, k]
    w0, w1, w2 = weight[0, h, k], weight[1, h, k], weight[2, h, k]
    w3, w4, w5 = weight[3, h, k], weight[4, h, k], weight[5, h, k]
    w6, w7, w8 = weight[6, h, k], weight[7, h, k], weight[8, h, k]
    one = x[c, h, k] * w0 + x1 * w1 + x2 * w2 + y[c, h, k] * w3 + y1 * w4 + y2 * w5
    two = x1 * w0 + x2 * w1 + x[c + 3, h, k] * w2 + y1 * w3 + y2 * w4 + y[c + 3, h, k] * w5
    one += z[c, h, k] * w6 + z1 * w7 + z2 * w8
    two += z1 * w6 + z2 * w7 + z[c + 3, h, k] * w8
    return one, two


@njit(nogil=True, cache=True, fastmath=_MATH)
def depthwise_row(x, y, z, weight, limited, out):
    """Depthwise 3x3 convolution of three rows, perhaps followed by ReLU6; weight (9, channels)."""
    columns, wide, channels = len(out), x.shape[1], weight.shape[1]
    x, y, z = (
        x.reshape((columns + 2, 1, wide)),
        y.reshape((columns + 2, 1, wide)),
        z.reshape((columns + 2, 1, wide)),
    )
    weight = weight.reshape((9, 1, channels))
    for c in range(0, columns, 2):
        for k in range(channels):
            one, two = _two(x, y, z, weight, c, 0, k)
            if limited:
                one, two = _relu6(one), _relu6(two)
            out[c, k] = one
            out[c + 1, k] = two


@njit(nogil=True, cache=True)
def gate_row(x, y, z, weight, out):
    """3x3 convolution, then GELU of the first half of the channels times the second half.

    weight is (9, 2 halves, channels), or (9, 2 halves, 2 in, 2 out, groups) for groups of two, of
    which the first channels lie before the second ones.
    """
    columns, half = out.shape
    if weight.ndim == 3:
        shape = (columns + 2, 2, half)
        _gate(x.reshape(shape), y.reshape(shape), z.reshape(shape), weight, out)
    else:
        pairs = (columns + 2, 2, 2, half // 2)
        out = out.reshape((columns, 2, half // 2))
        _gate_pairs(x.reshape(pairs), y.reshape(pairs), z.reshape(pairs), weight, out)


@njit(nogil=True, cache=True, fastmath=_MATH)
def _gate(x, y, z, weight, out):
    columns, channels = out.shape
    for c in range(0, columns, 2):
        for k in range(channels):
            one, two = _two(x, y, z, weight, c, 0, k)
            value_one, value_two = _two(x, y, z, weight, c, 1, k)
            out[c, k] = _gelu(one) * value_one
            out[c + 1, k] = _gelu(two) * value_two


@njit(inline="always", fastmath=_MATH)
def _pair(x, y, z, weight, c, h, q, k):
    total = _ZERO
    for j in range(3):
        for p in range(2):
            total += x[c + j, h, p, k] * weight[j, h, p, q, k]
            total += y[c + j, h, p, k] * weight[3 + j, h, p, q, k]
            total += z[c + j, h, p, k] * weight[6 + j, h, p, q, k]
    return total


@njit(nogil=True, cache=True, fastmath=_MATH)
def _gate_pairs(x, y, z, weight, out):
    columns, _, groups = out.shape
    for c in range(columns):
        for q in range(2):
            for k in range(groups):
                opening = _gelu(_pair(x, y, z, weight, c, 0, q, k))
                out[c, q, k] = opening * _pair(x, y, z, weight, c, 1, q, k)


# Layers. Of three rows in turn, the one of row i of the map is i % 3. Rows have an even number of
# columns, as convolutions take two at a time; the last one may be of the next patch.


@njit(inline="always")
def _even(count):
    return count + count % 2


@njit(inline="always")
def _three(rows, i):
    """Rows i - 2, i - 1 and i, the latest."""
    return rows[(i + 1) % 3], rows[(i + 2) % 3], rows[(i + 3) % 3]


@njit(nogil=True, cache=True)
def feed_forward(x, patch, norm, expand, mix, project, add, out):
    """Norm, gated feed-forward, shortcut; mix as in `gate_row`."""
    top, left, bottom, right = patch
    columns, channels = _even(right - left), x.shape[2]
    wide = expand.shape[0] * expand.shape[2]
    normed = np.empty((columns + 2, channels), np.float32)
    rows = np.empty((3, columns + 2, wide), np.float32)
    mixed = np.empty((columns, wide // 2), np.float32)
    result = np.empty((columns, channels), np.float32)
    for i in range(top - 1, bottom + 1):
        norm_row(x, i, left - 1, norm[0], norm[1], normed)
        multiply(normed, 0, expand, rows[(i + 3) % 3], columns + 2)
        if i > top:
            above, here, below = _three(rows, i)
            gate_row(above, here, below, mix, mixed)
            multiply(mixed, 0, project, result, columns)
            put_row(result, x, i - 1, left, right, True, add, out)


@njit(nogil=True, cache=True)
def _add_sums(mixed, columns, of_heads, products, squares):
    """Add the sums of a row, (columns, 2 * channels); over the image they are in float64."""
    channels = mixed.shape[1]
    squares_of_heads(mixed, columns, of_heads)
    for h in range(products.shape[0]):
        for i in range(products.shape[1]):
            for j in range(products.shape[2]):
                products[h, i, j] += of_heads[h, i, j]
    row = np.zeros(channels, np.float32)
    for c in range(columns):
        for k in range(channels):
            row[k] += mixed[c, k] * mixed[c, k]
    for k in range(channels):
        squares[k] += row[k]


@njit(nogil=True, cache=True)
def sums(x, patch, norm, expand, mix, products, squares):
    """Norm, 1x1, depthwise 3x3; of the queries and keys that these are, sums over all pixels."""
    top, left, bottom, right = patch
    columns, wide = _even(right - left), mix.shape[1]
    normed = np.empty((columns + 2, x.shape[2]), np.float32)
    rows = np.empty((3, columns + 2, wide), np.float32)
    mixed = np.empty((columns, wide), np.float32)
    of_heads = np.empty(products.shape, np.float32)
    for i in range(top - 1, bottom + 1):
        norm_row(x, i, left - 1, norm[0], norm[1], normed)
        multiply(normed, 0, expand, rows[(i + 3) % 3], columns + 2)
        if i > top:
            above, here, below = _three(rows, i)
            depthwise_row(above, here, below, mix, False, mixed)
            _add_sums(mixed, right - left, of_heads, products, squares)


@njit(nogil=True, cache=True)
def attend(x, patch, norm, expand, mix, project, add, out):
    """Norm, 1x1, depthwise 3x3, 1x1, shortcut."""
    top, left, bottom, right = patch
    columns, wide = _even(right - left), mix.shape[1]
    normed = np.empty((columns + 2, x.shape[2]), np.float32)
    rows = np.empty((3, columns + 2, wide), np.float32)
    mixed = np.empty((columns, wide), np.float32)
    result = np.empty((columns, x.shape[2]), np.float32)
    for i in range(top - 1, bottom + 1):
        norm_row(x, i, left - 1, norm[0], norm[1], normed)
        multiply(normed, 0, expand, rows[(i + 3) % 3], columns + 2)
        if i > top:
            above, here, below = _three(rows, i)
            depthwise_row(above, here, below, mix, False, mixed)
            multiply(mixed, 0, project, result, columns)
            put_row(result, x, i - 1, left, right, True, add, out)


@njit(nogil=True, cache=True)
def dense_sums(x, patch, norm, kernel, products, squares):
    """Norm and a full 3x3 convolution; of the queries and keys that these are, sums."""
    top, left, bottom, right = patch
    columns = _even(right - left)
    rows = np.empty((3, columns + 2, x.shape[2]), np.float32)
    mixed = np.empty((columns, squares.shape[0]), np.float32)
    of_heads = np.empty(products.shape, np.float32)
    for i in range(top - 1, bottom + 1):
        norm_row(x, i, left - 1, norm[0], norm[1], rows[(i + 3) % 3])
        if i > top:
            above, here, below = _three(rows, i)
            multiply_three(above, here, below, kernel, mixed, columns)
            _add_sums(mixed, right - left, of_heads, products, squares)


@njit(nogil=True, cache=True)
def dense_attend(x, patch, norm, kernel, add, out):
    """Norm, a full 3x3 convolution, shortcut."""
    top, left, bottom, right = patch
    columns = _even(right - left)
    rows = np.empty((3, columns + 2, x.shape[2]), np.float32)
    result = np.empty((columns, x.shape[2]), np.float32)
    for i in range(top - 1, bottom + 1):
        norm_row(x, i, left - 1, norm[0], norm[1], rows[(i + 3) % 3])
        if i > top:
            above, here, below = _three(rows, i)
            multiply_three(above, here, below, kernel, result, columns)
            put_row(result, x, i - 1, left, right, True, add, out)


@njit(nogil=True, cache=True, fastmath=_MATH)
def convolution(x, patch, kernel, slope, add, out):
    """A full 3x3 convolution, leaky ReLU. The kernel may have more outputs than `out` has."""
    top, left, bottom, right = patch
    columns, wide = _even(right - left), kernel.shape[1] * kernel.shape[3]
    rows = np.empty((3, columns + 2, x.shape[2]), np.float32)
    result = np.empty((columns, wide), np.float32)
    for i in range(top - 1, bottom + 1):
        load_row(x, i, left - 1, False, rows[(i + 3) % 3])
        if i > top:
            above, here, below = _three(rows, i)
            multiply_three(above, here, below, kernel, result, columns)
            for p in range(columns):
                for k in range(wide):
                    result[p, k] = max(result[p, k], result[p, k] * slope)
            put_row(result, x, i - 1, left, right, False, add, out)


@njit(nogil=True, cache=True, fastmath=_MATH)
def couple_one(x, patch, expand, bias, mix, project, add, out):
    """First half of a detail node: shuffle, and the first channels change the second ones.

    `expand` makes the first channels wide, and shuffles all, in one; project is (., half).
    """
    top, left, bottom, right = patch
    columns, channels = _even(right - left), x.shape[2]
    half = channels // 2
    loaded = np.empty((columns + 2, channels), np.float32)
    rows = np.empty((3, columns + 2, 2 * channels), np.float32)
    mixed = np.empty((columns, channels), np.float32)
    change = np.empty((columns, half), np.float32)
    result = np.empty((columns, channels), np.float32)
    for i in range(top - 1, bottom + 1):
        load_row(x, i, left - 1, True, loaded)
        row = rows[(i + 3) % 3]
        multiply(loaded, 0, expand, row, columns + 2)
        for c in range(columns + 2):
            for k in range(channels):
                row[c, k] = _relu6(row[c, k] + bias[k])
            for k in range(channels, 2 * channels):
                row[c, k] += bias[k]
        if i > top:
            above, here, below = _three(rows, i)
            depthwise_row(above, here, below, mix, True, mixed)
            multiply(mixed, 0, project, change, columns)
            for c in range(columns):
                for k in range(channels):
                    result[c, k] = here[c + 1, channels + k]
                for k in range(half):
                    result[c, half + k] += change[c, k]
            put_row(result, x, i - 1, left, right, False, add, out)


@njit(nogil=True, cache=True, fastmath=_MATH)
def couple_two(x, patch, expand, mix, scaling, shifting, add, out):
    """Second half of a detail node: the second channels scale and shift the first ones."""
    top, left, bottom, right = patch
    columns, channels = _even(right - left), x.shape[2]
    half = channels // 2
    loaded = np.empty((columns + 2, channels), np.float32)
    rows = np.empty((3, columns + 2, 2 * channels), np.float32)
    mixed = np.empty((columns, 2 * channels), np.float32)
    scale = np.empty((columns, half), np.float32)
    shift = np.empty((columns, half), np.float32)
    result = np.empty((columns, channels), np.float32)
    for i in range(top - 1, bottom + 1):
        load_row(x, i, left - 1, True, loaded)
        row = rows[(i + 3) % 3]
        multiply(loaded, half, expand, row, columns + 2)
        for c in range(columns + 2):
            for k in range(2 * channels):
                row[c, k] = _relu6(row[c, k])
        if i > top:
            above, here, below = _three(rows, i)
            depthwise_row(above, here, below, mix, True, mixed)
            multiply(mixed, 0, scaling, scale, columns)
            multiply(mixed, channels, shifting, shift, columns)
            for c in range(right - left):
                j = left + c
                for k in range(half):
                    result[c, k] = x[i - 1, j, k] * math.exp(scale[c, k]) + shift[c, k]
                for k in range(half, channels):
                    result[c, k] = x[i - 1, j, k]
            put_row(result, x, i - 1, left, right, False, add, out)


@njit(nogil=True, cache=True, fastmath=_MATH)
def merge(x, y, patch, of_x, of_y, out):
    """Two maps to one: 1x1 convolutions of both, added."""
    top, left, bottom, right = patch
    columns, channels = _even(right - left), x.shape[2]
    loaded = np.empty((columns, channels), np.float32)
    result = np.empty((columns, channels), np.float32)
    for i in range(top, bottom):
        load_row(x, i, left, False, loaded)
        multiply(loaded, 0, of_x, result, columns)
        put_row(result, x, i, left, right, False, False, out)
        load_row(y, i, left, False, loaded)
        multiply(loaded, 0, of_y, result, columns)
        put_row(result, y, i, left, right, False, True, out)
