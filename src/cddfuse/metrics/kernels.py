"""Loops over pixels for CPUs, faster than operations on whole images.

Compiled by Numba on the first call and cached on disk. Images are (H, W) and contiguous, float32 or
float64; arithmetic is in float64. They release the GIL.
"""

import math

import numpy as np
from numba import njit
from numpy.polynomial import chebyshev

# Sums may be reordered and products fused; NaN and infinity keep their meaning. Division by zero
# gives one of those: an exception would prevent vectorisation.
_MATH = {"reassoc", "contract", "nsz", "arcp"}
_compiled = njit(nogil=True, cache=True, error_model="numpy", fastmath=_MATH)
_inline = njit(inline="always", error_model="numpy", fastmath=_MATH)


def _fit(function, low, high, degree):
    """Coefficients of a polynomial in 2 (x - low) / (high - low) - 1, lowest power first."""
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
    """For -40 <= x <= 40, to 1e-13. That of the library is not vectorised."""
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
    """Sobel gradients of a row between two others, zeros to its left and right."""
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
def _preserved_in_row(fx, fy, sx, sy, fold):
    """Sums of Q w without the two factors Gamma, and of the weights w, for a source."""
    preserved = weights = 0.0
    for c in range(len(fx)):
        f2, s2 = fx[c] * fx[c] + fy[c] * fy[c], sx[c] * sx[c] + sy[c] * sy[c]
        f, s = math.sqrt(f2), math.sqrt(s2)
        stronger = max(f, s)
        ratio = min(f, s) / (stronger if stronger > 0 else 1.0)
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
        preserved += s / (strength * angle)
        weights += s
    return preserved, weights


@_compiled
def preserved_edges(fused, first, second, fold, start, stop):
    """Sums of Q w without the two factors Gamma, and of the weights w, in rows `start` to `stop`.

    Images are padded with zeros. See `edge_preservation` for `fold`.
    """
    rows, columns = fused.shape
    black = np.zeros(columns, fused.dtype)
    smooth, step = np.zeros(columns + 2), np.zeros(columns + 2)
    left, down = np.empty((3, columns)), np.empty((3, columns))
    preserved = weights = 0.0
    for r in range(start, stop):
        for k in range(3):
            image = fused if k == 0 else (first if k == 1 else second)
            above = image[r - 1] if r > 0 else black
            below = image[r + 1] if r + 1 < rows else black
            _gradients(above, image[r], below, smooth, step, left[k], down[k])
        for k in range(1, 3):
            of_source = _preserved_in_row(left[0], down[0], left[k], down[k], fold)
            preserved += of_source[0]
            weights += of_source[1]
    return preserved, weights


@_compiled
def squared_differences(image):
    """Sums of the squared differences along columns, and along rows."""
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
    """Sums of x, of y and of their products, the first pixel being subtracted from each image."""
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
    """Histogram of integer levels 0 to 255: (256,)."""
    out = np.zeros(256, np.int64)
    for level in image.ravel():
        out[np.int64(level) & 255] += 1
    return out


@_compiled
def pair_counts(x, y):
    """Joint histogram of integer levels 0 to 255: (65536,), levels of x first."""
    x, y = x.ravel(), y.ravel()
    out = np.zeros(256 * 256, np.int64)
    for i in range(len(x)):
        out[(np.int64(x[i]) & 255) * 256 + (np.int64(y[i]) & 255)] += 1
    return out


@_inline
def _distribution(window, share):
    """Fill `share` with the distribution of a window; whether the window is constant."""
    low, high = window.min(), window.max()
    total = 0.0
    for k in range(9):
        share[k] = 1.0 if low == high else (window[k] - low) / (high - low)
        total += share[k]
    for k in range(9):
        share[k] /= total
    return low == high


@_inline
def _sigma(share):
    """Standard deviation of the position, counted from 1."""
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
    """Entropy; the real part, where rounding makes a probability negative."""
    return -share * math.log2(math.fabs(share)) if share != 0 else 0.0


@njit(nogil=True, cache=True, error_model="numpy")
def window_information(x, y):
    """Sum of the normalised mutual information of all 3 x 3 windows."""
    rows, columns = x.shape
    a, b, p, q = np.empty(9), np.empty(9), np.empty(9), np.empty(9)
    bound = np.zeros((10, 10))  # Frechet's, cumulative; the first row and column stay 0
    total = 0.0
    for r in range(rows - 2):
        for c in range(columns - 2):
            for k in range(9):
                a[k], b[k] = x[r + k % 3, c + k // 3], y[r + k % 3, c + k // 3]
            if (a == b).all():
                total += 1
                continue
            constant = _distribution(a, p)
            constant = _distribution(b, q) or constant
            rho = 0.0 if constant else _correlation(p, q)
            entropies = bound_covariance = cdf_p = 0.0
            for i in range(9):
                cdf_p += p[i]
                cdf_q = 0.0
                for j in range(9):
                    cdf_q += q[j]
                    if rho >= 0:
                        bound[i + 1, j + 1] = min(cdf_p, cdf_q)
                    else:
                        bound[i + 1, j + 1] = max(cdf_p + cdf_q - 1, 0.0)
                    bound_covariance += bound[i + 1, j + 1] - cdf_p * cdf_q
                entropies += _bits(p[i]) + _bits(q[i])
            sigmas = _sigma(p) * _sigma(q)
            phi = rho * sigmas / bound_covariance if rho != 0 and sigmas > 0 else 0.0
            information = entropies
            for i in range(9):
                for j in range(9):
                    density = (bound[i + 1, j + 1] - bound[i, j + 1]) - (
                        bound[i + 1, j] - bound[i, j]
                    )
                    information -= _bits(phi * density + (1 - phi) * p[i] * q[j])
            if information != 0:
                total += 2 * information / entropies
    return total
