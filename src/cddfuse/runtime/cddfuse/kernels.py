"""The layers of CDDFuse over a patch, row by row, compiled by Numba for CPUs.

Layers depend on 3 x 3 pixels, so three rows of the wide intermediate values are kept, which stay in
the cache. Every kernel takes a map x, (H, W, channels), a patch of it (top, left, bottom, right),
and at the end the map for the result, to which it may be added (`add`).

Arrays are float32 and contiguous. Indices are kept simple, as others compile to slow code.
"""

import math

import numpy as np
from numba import boolean, float32, float64, int64, njit, types

from cddfuse.runtime.cddfuse.depthwise import PAD, depthwise_row, gate_row
from cddfuse.runtime.cddfuse.jit import FIRST, NO, YES, kernel, part
from cddfuse.runtime.cddfuse.products import LANES, multiply, multiply_three, squares_of_heads
from cddfuse.runtime.cddfuse.winograd import PAIRS, convolve_rows

# Sums may be reordered and products fused; NaN and infinity keep their meaning.
_MATH = {"reassoc", "contract", "nsz", "arcp"}
_ONE, _HALF, _SIX, _ZERO = (np.float32(value) for value in (1, 0.5, 6, 0))
_TINY = np.float32(1e-5)

# exp(x) = 2^n exp(r): n is an integer, written to the exponent bits of a float32, and r is small.
_LOG2_E = np.float32(math.log2(math.e))
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(math.log(2) - 0.693359375)
_E7, _E6, _E5, _E4, _E3 = (np.float32(1 / math.factorial(n)) for n in (7, 6, 5, 4, 3))
_LOWEST, _HIGHEST = np.float32(-87), np.float32(88)  # x is clamped


@njit(inline="always", fastmath=_MATH)
def _exp(x):
    """Exponential, to a relative error of 1e-7; libraries have no fast one for such loops."""
    x = min(max(x, _LOWEST), _HIGHEST)
    n = np.rint(x * _LOG2_E)
    r = x - n * _LN2_HIGH - n * _LN2_LOW
    p = ((((((_E7 * r + _E6) * r + _E5) * r + _E4) * r + _E3) * r + _HALF) * r + _ONE) * r + _ONE
    power = (np.int32(n) + np.int32(127)) << np.int32(23)
    return p * np.int32(power).view(np.float32)


@njit(inline="always", fastmath=_MATH)
def _relu6(x):
    return min(max(x, _ZERO), _SIX)


# Rows of pixels. `i` is a row of the map and may lie outside; `left` is the first column.


@part(fastmath=_MATH)
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


@part()
def load_row(x, i, left, mirrored, out):
    """Pixels, with zero or reflection padding."""
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


@part(fastmath=_MATH)
def put_row(result, x, i, left, right, shortcut, add, out):
    """Write a result to a map, or add it; with a shortcut, x is added too."""
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


# Layers. Of three rows in turn, the one of row i of the map is i % 3.


@njit(inline="always")
def _three(rows, i):
    """Rows i - 2, i - 1 and i, the latest."""
    return rows[(i + 1) % 3], rows[(i + 2) % 3], rows[(i + 3) % 3]


@kernel()
def feed_forward(x, patch, norm, expand, mix, project, add, out):
    """Norm, gated feed-forward, shortcut; mix as in `gate_row`."""
    top, left, bottom, right = patch
    columns, channels = right - left, x.shape[2]
    wide = expand.shape[0] * expand.shape[2]
    normed = np.empty((columns + 2, channels), np.float32)
    rows = np.empty((3, columns + 2, wide + PAD), np.float32)
    room = np.empty((columns, LANES), np.float32)
    mixed = np.empty((columns, wide // 2 + PAD), np.float32)
    result = np.empty((columns, channels), np.float32)
    for i in range(top - 1, bottom + 1):
        norm_row(x, i, left - 1, norm[0], norm[1], normed)
        multiply(normed, FIRST, expand, rows[(i + 3) % 3], columns + 2)
        if i > top:
            above, here, below = _three(rows, i)
            gate_row(above, here, below, mix, room, mixed)
            multiply(mixed, FIRST, project, result, columns)
            put_row(result, x, i - 1, left, right, YES, add, out)


@part()
def _add_sums(mixed, columns, of_heads, products, squares):
    """Add the sums of a row, (columns, 2 * channels); over the image they are in float64."""
    channels = len(squares)
    squares_of_heads(mixed, columns, of_heads)
    for h in range(products.shape[0]):
        for i in range(products.shape[1]):
            for j in range(products.shape[2]):
                products[h, i, j] += of_heads[h, i, j]
    row = np.empty(channels, np.float32)
    for k in range(channels):
        row[k] = _ZERO
    for c in range(columns):
        for k in range(channels):
            row[k] += mixed[c, k] * mixed[c, k]
    for k in range(channels):
        squares[k] += row[k]


# Attention takes two passes. One function for both halves the time to compile. The first pass adds
# to products (heads, 8, 8) and squares (2 * channels,), and leaves `out` alone; in the second one,
# these are empty.


@kernel()
def attention(x, patch, norm, expand, mix, project, products, squares, add, out):
    """Norm, 1x1, depthwise 3x3: to queries and keys and sums of their products over all pixels.

    In the second pass to values, then 1x1 and shortcut.
    """
    top, left, bottom, right = patch
    columns, wide, first = right - left, LANES * len(mix), len(squares) > 0
    normed = np.empty((columns + 2, x.shape[2]), np.float32)
    rows = np.empty((3, columns + 2, wide + PAD), np.float32)
    mixed = np.empty((columns, wide + PAD), np.float32)
    of_heads = np.empty(products.shape, np.float32)
    result = np.empty((columns, x.shape[2]), np.float32)
    for i in range(top - 1, bottom + 1):
        norm_row(x, i, left - 1, norm[0], norm[1], normed)
        multiply(normed, FIRST, expand, rows[(i + 3) % 3], columns + 2)
        if i > top:
            above, here, below = _three(rows, i)
            depthwise_row(above, here, below, mix, NO, mixed)
            if first:
                _add_sums(mixed, columns, of_heads, products, squares)
            else:
                multiply(mixed, FIRST, project, result, columns)
                put_row(result, x, i - 1, left, right, YES, add, out)


# Full 3x3 convolutions make two columns at a time; the last one may be of the next patch.


@njit(inline="always")
def _even(count):
    return count + count % 2


@kernel()
def dense_attention(x, patch, norm, matrices, products, squares, add, out):
    """Norm, full 3x3 convolution: to queries and keys and sums of their products over all pixels.

    In the second pass to the result, then shortcut.
    """
    top, left, bottom, right = patch
    columns, channels, first = _even(right - left), x.shape[2], len(squares) > 0
    wide = len(squares) if first else channels
    rows = np.empty((2 * PAIRS + 2, columns + 2, channels), np.float32)
    spread = np.empty((4, PAIRS, columns // 2, channels), np.float32)
    parts = np.empty((4, PAIRS, columns // 2, wide), np.float32)
    result = np.empty((PAIRS, 2, columns, wide), np.float32)
    of_heads = np.empty(products.shape, np.float32)
    for i in range(top, bottom, 2 * PAIRS):
        _norm_rows(x, i, i == top, left - 1, norm, rows)
        convolve_rows(rows, matrices, spread, parts, result)
        for r in range(min(2 * PAIRS, bottom - i)):
            row = result[r // 2, r % 2]
            if first:
                _add_sums(row, right - left, of_heads, products, squares)
            else:
                put_row(row, x, i + r, left, right, YES, add, out)


@part()
def _norm_rows(x, i, first, left, norm, rows):
    """Rows i - 1, ... for `convolve_rows`; two of them are kept from the call before."""
    last = len(rows) - 2
    for r in range(len(rows)):
        if first or r > 1:
            norm_row(x, i + r - 1, left, norm[0], norm[1], rows[r])
        else:
            _copy(rows[last + r], rows[r])


@part()
def _copy(row, out):
    """NumPy's assignment would bring along the code that words its errors."""
    columns, channels = row.shape
    for c in range(columns):
        for k in range(channels):
            out[c, k] = row[c, k]


@kernel(fastmath=_MATH)
def convolution(x, patch, kernel, slope, add, out):
    """A full 3x3 convolution, leaky ReLU. The kernel may have more outputs than `out` has."""
    top, left, bottom, right = patch
    columns, wide = right - left, kernel.shape[1] * kernel.shape[3]
    rows = np.empty((3, columns + 2, x.shape[2]), np.float32)
    result = np.empty((columns, wide), np.float32)
    for i in range(top - 1, bottom + 1):
        load_row(x, i, left - 1, NO, rows[(i + 3) % 3])
        if i > top:
            above, here, below = _three(rows, i)
            multiply_three(above, here, below, kernel, result, columns)
            for p in range(columns):
                for k in range(wide):
                    result[p, k] = max(result[p, k], result[p, k] * slope)
            put_row(result, x, i - 1, left, right, NO, add, out)


# Separate functions, as their loops compile to faster code.


@part(fastmath=_MATH)
def _shift(row, bias, channels):
    """Add a bias to all, then limit the first half."""
    for c in range(len(row)):
        for k in range(channels):
            row[c, k] = _relu6(row[c, k] + bias[k])
        for k in range(channels):
            row[c, channels + k] += bias[channels + k]


@part(fastmath=_MATH)
def _change(row, change, out):
    """Couple the second half of the channels of a row."""
    columns, half = change.shape
    for c in range(columns):
        for k in range(2 * half):
            out[c, k] = row[c + 1, 2 * half + k]
        for k in range(half):
            out[c, half + k] += change[c, k]


@part(fastmath=_MATH)
def _limit(row, columns, channels):
    for c in range(columns):
        for k in range(channels):
            row[c, k] = _relu6(row[c, k])


@part(fastmath=_MATH)
def _couple(row, left, right, scale, shift, out):
    half = scale.shape[1]
    for c in range(right - left):
        j = left + c
        for k in range(half):
            out[c, k] = row[j, k] * _exp(scale[c, k]) + shift[c, k]
        for k in range(half):
            out[c, half + k] = row[j, half + k]


@kernel(fastmath=_MATH)
def couple_one(x, patch, expand, bias, mix, project, add, out):
    """First half of a detail node: shuffle, and the first channels change the second ones.

    `expand` makes the first channels wide, and shuffles all, in one; project is (., half).
    """
    top, left, bottom, right = patch
    columns, channels = right - left, x.shape[2]
    half = channels // 2
    loaded = np.empty((columns + 2, channels), np.float32)
    rows = np.empty((3, columns + 2, 2 * channels + PAD), np.float32)
    mixed = np.empty((columns, channels + PAD), np.float32)
    change = np.empty((columns, half), np.float32)
    result = np.empty((columns, channels), np.float32)
    for i in range(top - 1, bottom + 1):
        load_row(x, i, left - 1, YES, loaded)
        row = rows[(i + 3) % 3]
        multiply(loaded, FIRST, expand, row, columns + 2)
        _shift(row, bias, channels)
        if i > top:
            above, here, below = _three(rows, i)
            depthwise_row(above, here, below, mix, YES, mixed)
            multiply(mixed, FIRST, project, change, columns)
            _change(here, change, result)
            put_row(result, x, i - 1, left, right, NO, add, out)


@kernel(fastmath=_MATH)
def couple_two(x, patch, expand, mix, scaling, shifting, add, out):
    """Second half of a detail node: the second channels scale and shift the first ones."""
    top, left, bottom, right = patch
    columns, channels = right - left, x.shape[2]
    half = channels // 2
    loaded = np.empty((columns + 2, channels), np.float32)
    rows = np.empty((3, columns + 2, 2 * channels + PAD), np.float32)
    mixed = np.empty((columns, 2 * channels + PAD), np.float32)
    scale = np.empty((columns, half), np.float32)
    shift = np.empty((columns, half), np.float32)
    result = np.empty((columns, channels), np.float32)
    for i in range(top - 1, bottom + 1):
        load_row(x, i, left - 1, YES, loaded)
        row = rows[(i + 3) % 3]
        multiply(loaded, half, expand, row, columns + 2)
        _limit(row, columns + 2, 2 * channels)
        if i > top:
            above, here, below = _three(rows, i)
            depthwise_row(above, here, below, mix, YES, mixed)
            multiply(mixed, FIRST, scaling, scale, columns)
            multiply(mixed, channels, shifting, shift, columns)
            _couple(x[i - 1], left, right, scale, shift, result)
            put_row(result, x, i - 1, left, right, NO, add, out)


@kernel(fastmath=_MATH)
def merge(x, y, patch, of_x, of_y, out):
    """1x1 convolution of the concatenation of two maps."""
    top, left, bottom, right = patch
    columns, channels = right - left, x.shape[2]
    loaded = np.empty((columns, channels), np.float32)
    result = np.empty((columns, channels), np.float32)
    for i in range(top, bottom):
        load_row(x, i, left, NO, loaded)
        multiply(loaded, FIRST, of_x, result, columns)
        put_row(result, x, i, left, right, NO, NO, out)
        load_row(y, i, left, NO, loaded)
        multiply(loaded, FIRST, of_y, result, columns)
        put_row(result, y, i, left, right, NO, YES, out)


_PATCH = types.UniTuple(int64, 4)
_ROW, _FLAT, _MAP = float32[::1], float32[:, ::1], float32[:, :, ::1]  # and matrices in panels
_SUMS = float64[:, :, ::1], float64[::1]
SIGNATURES = {
    "dense_attention": (_MAP, _PATCH, _FLAT, float32[:, :, :, :, ::1], *_SUMS, boolean, _MAP),
    "attention": (_MAP, _PATCH, _FLAT, _MAP, _MAP, _MAP, *_SUMS, boolean, _MAP),
    "feed_forward": (
        *(_MAP, _PATCH, _FLAT, _MAP),
        *(float32[:, :, :, :, :, ::1], _MAP, boolean, _MAP),
    ),
    "merge": (_MAP, _MAP, _PATCH, _MAP, _MAP, _MAP),
    "convolution": (_MAP, _PATCH, float32[:, :, :, ::1], float32, boolean, _MAP),
    "couple_two": (_MAP, _PATCH, _MAP, _MAP, _MAP, _MAP, boolean, _MAP),
    "couple_one": (_MAP, _PATCH, _MAP, _ROW, _MAP, _MAP, boolean, _MAP),
}
"""Types of the arguments of the kernels. The first ones share most parts with each other, and so do
the last ones: processes that compile begin at either end."""
