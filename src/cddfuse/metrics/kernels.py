"""The loops over pixels that operations on whole images take too long for, for CPUs.

Compiled by Numba when first called, and kept on disk. Images are (H, W) and contiguous, float32 or
float64; arithmetic is in float64. Other threads may run meanwhile.
"""

import math

import numpy as np
from numba import njit
from numpy.polynomial import chebyshev

# Sums may be reordered and products fused; NaN and infinity keep their meaning. Division by zero
# gives one of those instead of an exception: with one, pixels could not be taken four at a time.
_MATH = {"reassoc", "contract", "nsz", "arcp"}
_compiled = njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATH)
_inline = njit(inline="always", error_model="numpy", fastmath=_MATH)


def _fit(function, low, high, degree):
    """A polynomial in 2 (x - low) / (high - low) - 1 that is `function`, lowest power first."""
    places = np.cos(np.pi * (np.arange(200) + 0.5) / 200)
    values = function(low + (high - low) * (places + 1) / 2)
    return tuple(chebyshev.cheb2poly(chebyshev.chebfit(places, values, degree)).tolist())


# atan(t) / t in t^2 from 0 to 1, to 4e-14; exp from -40/128 to 40/128, to 1e-15.
(_A0, _A1, _A2, _A3, _A4, _A5, _A6, _A7, _A8, _A9, _A10, _A11, _A12, _A13, _A14, _A15) = _fit(
    lambda t2: np.arctan(np.sqrt(t2)) / np.sqrt(t2), 0, 1, 15
)
(_E0, _E1, _E2, _E3, _E4, _E5, _E6, _E7, _E8, _E9, _E10) = _fit(np.exp, -40 / 128, 40 / 128, 10)


@_inline
def _exp(x):
    """For -40 <= x <= 40, to 1e-13. The library's takes one number at a time."""
    u = x * (1 / 40)
    p = ((((_E10 * u + _E9) * u + _E8) * u + _E7) * u + _E6) * u + _E5
    p = ((((p * u + _E4) * u + _E3) * u + _E2) * u + _E1) * u + _E0
    p = p * p  # to the power of 128
    p = p * p
    p = p * p
    p = p * p
    p = p * p
    p = p * p
    return p * p


@_inline
def _atan(t):
    """For 0 <= t <= 1, to 4e-14."""
    u = 2.0 * t * t - 1.0
    p = ((((_A15 * u + _A14) * u + _A13) * u + _A12) * u + _A11) * u + _A10
    p = ((((p * u + _A9) * u + _A8) * u + _A7) * u + _A6) * u + _A5
    p = ((((p * u + _A4) * u + _A3) * u + _A2) * u + _A1) * u + _A0
    return p * t


@_compiled
def _gradients(above, row, below, smooth, step, left, down):
    """Sobel's of a row between two others, zeros to its left and right."""
    columns = len(row)
    for c in range(columns):
        smooth[c + 1] = above[c] + below[c] + 2.0 * row[c]
    for c in range(columns):
        step[c + 1] = np.float64(below[c]) - above[c]
    for c in range(columns):
        left[c] = smooth[c] - smooth[c + 2]
    for c in range(columns):
        down[c] = step[c] + step[c + 2] + 2.0 * step[c + 1]


@_compiled
def _row_of_edges(fx, fy, sx, sy, fold):
    """What is kept of the edges of a source, but for the two tops, and how strong they are."""
    kept = there = 0.0
    for c in range(len(fx)):
        f2, s2 = fx[c] * fx[c] + fy[c] * fy[c], sx[c] * sx[c] + sy[c] * sy[c]
        f, s = math.sqrt(f2), math.sqrt(s2)
        strong = max(f, s)
        ratio = min(f, s) / (strong if strong > 0 else 1.0)
        if not fold:
            ratio = f if f2 == s2 else ratio
        # Angles are in (-pi/2, pi/2], and pi/2 where there is no edge.
        ux, uy = math.fabs(fx[c]), -fy[c] if fx[c] < 0 else fy[c]
        vx, vy = math.fabs(sx[c]), -sy[c] if sx[c] < 0 else sy[c]
        uy = math.fabs(uy) if ux == 0 else uy
        vy = math.fabs(vy) if vx == 0 else vy
        uy = 1.0 if f2 == 0 else uy
        vy = 1.0 if s2 == 0 else vy
        dot, cross = ux * vx + uy * vy, math.fabs(ux * vy - uy * vx)
        size = math.fabs(dot)
        turn = _atan(min(size, cross) / max(size, cross))
        aligned = turn if size < cross else math.pi / 2 - turn
        if not fold:
            aligned = -aligned if dot < 0 else aligned
        strength = 1.0 + _exp(max(7.5 - 15.0 * ratio, -40.0))
        angle = 1.0 + _exp(17.6 - (44 / math.pi) * aligned)
        kept += s / (strength * angle)
        there += s
    return kept, there


@_compiled
def edges_kept(fused, first, second, fold, start, stop):
    """What is kept of the edges of both sources in rows `start` to `stop`, and how strong they are.

    Zeros around the images; the two tops are left out. See `edge_preservation` for `fold`.
    """
    rows, columns = fused.shape
    black = np.zeros(columns, fused.dtype)
    smooth, step = np.zeros(columns + 2), np.zeros(columns + 2)
    left, down = np.empty((3, columns)), np.empty((3, columns))
    kept = there = 0.0
    for r in range(start, stop):
        for k in range(3):
            image = fused if k == 0 else (first if k == 1 else second)
            above = image[r - 1] if r > 0 else black
            below = image[r + 1] if r + 1 < rows else black
            _gradients(above, image[r], below, smooth, step, left[k], down[k])
        for k in range(1, 3):
            of_source = _row_of_edges(left[0], down[0], left[k], down[k], fold)
            kept += of_source[0]
            there += of_source[1]
    return kept, there


@_compiled
def steps(image):
    """Sums of the squares of all steps down, and of all to the right."""
    rows, columns = image.shape
    down = right = 0.0
    for r in range(rows - 1):
        upper, lower = image[r], image[r + 1]
        for c in range(columns):
            step = np.float64(lower[c]) - upper[c]
            down += step * step
    for r in range(rows):
        line = image[r]
        for c in range(columns - 1):
            step = np.float64(line[c + 1]) - line[c]
            right += step * step
    return down, right


@_compiled
def products(x, y):
    """Sums of x, of y and of their products, each less its own first pixel."""
    x, y = x.ravel(), y.ravel()
    first_x, first_y = np.float64(x[0]), np.float64(y[0])
    total_x = total_y = product = 0.0
    for i in range(len(x)):
        a, b = x[i] - first_x, y[i] - first_y
        total_x += a
        total_y += b
        product += a * b
    return total_x, total_y, product


@_compiled
def counts(image):
    """How often each whole level from 0 to 255 occurs: (256,)."""
    out = np.zeros(256, np.int64)
    for level in image.ravel():
        out[np.int64(level) & 255] += 1
    return out


@_compiled
def pair_counts(x, y):
    """How often each pair of whole levels from 0 to 255 occurs: (65536,), levels of x first."""
    x, y = x.ravel(), y.ravel()
    out = np.zeros(256 * 256, np.int64)
    for i in range(len(x)):
        out[(np.int64(x[i]) & 255) * 256 + (np.int64(y[i]) & 255)] += 1
    return out


@_inline
def _distribution(window, share):
    """Shares of the nine places, and whether they are all the same."""
    low, high = window.min(), window.max()
    total = 0.0
    for k in range(9):
        share[k] = 1.0 if low == high else (window[k] - low) / (high - low)
        total += share[k]
    for k in range(9):
        share[k] /= total
    return low == high


@_inline
def _deviation(share):
    """Of the place, counted from 1."""
    mean = square = 0.0
    for k in range(9):
        mean += share[k] * (k + 1)
        square += share[k] * (k + 1) * (k + 1)
    return math.sqrt(max(square - mean * mean, 0.0))


@_inline
def _correlation(p, q):
    common = of_p = of_q = 0.0
    mean_p, mean_q = p.mean(), q.mean()
    for k in range(9):
        a, b = p[k] - mean_p, q[k] - mean_q
        common += a * b
        of_p += a * a
        of_q += b * b
    return common / math.sqrt(of_p * of_q) if common != 0 else 0.0


@_inline
def _bits(share):
    """Of shares that are negative by rounding, the real part."""
    return -share * math.log2(math.fabs(share)) if share != 0 else 0.0


@njit(nogil=True, cache=True, error_model="numpy")
def window_information(x, y):
    """Sum over all 3 x 3 windows of what `feature_mutual_information` says of each."""
    rows, columns = x.shape
    a, b, p, q = np.empty(9), np.empty(9), np.empty(9), np.empty(9)
    extreme = np.zeros((10, 10))  # cumulative; the first row and column stay 0
    total = 0.0
    for r in range(rows - 2):
        for c in range(columns - 2):
            for k in range(9):
                a[k], b[k] = x[r + k % 3, c + k // 3], y[r + k % 3, c + k // 3]
            if (a == b).all():
                total += 1
                continue
            flat = _distribution(a, p)
            flat = _distribution(b, q) or flat
            correlation = 0.0 if flat else _correlation(p, q)
            entropies = reach = above = 0.0
            for i in range(9):
                above += p[i]
                below = 0.0
                for j in range(9):
                    below += q[j]
                    if correlation >= 0:
                        extreme[i + 1, j + 1] = min(above, below)
                    else:
                        extreme[i + 1, j + 1] = max(above + below - 1, 0.0)
                    reach += extreme[i + 1, j + 1] - above * below
                entropies += _bits(p[i]) + _bits(q[i])
            deviations = _deviation(p) * _deviation(q)
            depends = correlation != 0 and deviations > 0
            dependence = correlation * deviations / reach if depends else 0.0
            information = entropies
            for i in range(9):
                for j in range(9):
                    mass = (extreme[i + 1, j + 1] - extreme[i, j + 1]) - (
                        extreme[i + 1, j] - extreme[i, j]
                    )
                    information -= _bits(dependence * mass + (1 - dependence) * p[i] * q[j])
            if information != 0:
                total += 2 * information / entropies
    return total
