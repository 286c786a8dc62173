"""The loops of `loops.py` that libraries have no fast form of, for CPUs.

Compiled by Numba when first called, and kept on disk. Arrays are float32 and contiguous; `out` is
no part of another argument, or the compiled code takes its slow path. An index is never more than
a variable or a number plus a number, or it does so too: hence the axes for halves and pairs.
"""

import math

import numpy as np
from numba import njit
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

Array = NDArray[np.float32]

# Sums may be reordered and products fused; NaN and infinity keep their meaning.
_MATH = {"reassoc", "contract", "nsz", "arcp"}
_ONE, _HALF, _SIX, _ZERO = (np.float32(value) for value in (1, 0.5, 6, 0))

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
def _taps(x, weight, r, c, k):
    return (
        x[r, c, k] * weight[0, k]
        + x[r, c + 1, k] * weight[1, k]
        + x[r, c + 2, k] * weight[2, k]
        + x[r + 1, c, k] * weight[3, k]
        + x[r + 1, c + 1, k] * weight[4, k]
        + x[r + 1, c + 2, k] * weight[5, k]
        + x[r + 2, c, k] * weight[6, k]
        + x[r + 2, c + 1, k] * weight[7, k]
        + x[r + 2, c + 2, k] * weight[8, k]
    )


@njit(nogil=True, cache=True, fastmath=_MATH)
def norm(x, top, left, weight, bias, out):
    """Layer norm over the channels of every pixel; zeros outside."""
    height, width, channels = x.shape
    rows, columns, _ = out.shape
    share = _ONE / np.float32(channels)
    for r in range(rows):
        i = top + r
        for c in range(columns):
            j = left + c
            if i < 0 or i >= height or j < 0 or j >= width:
                for k in range(channels):
                    out[r, c, k] = _ZERO
                continue
            total = _ZERO
            for k in range(channels):
                total += x[i, j, k]
            mean = total * share
            squares = _ZERO
            for k in range(channels):
                squares += (x[i, j, k] - mean) * (x[i, j, k] - mean)
            scale = _ONE / np.sqrt(squares * share + np.float32(1e-5))
            for k in range(channels):
                out[r, c, k] = (x[i, j, k] - mean) * scale * weight[k] + bias[k]


@njit(nogil=True, cache=True, fastmath=_MATH)
def load(x, top, left, mirrored, out):
    """Pixels; outside zeros, or the mirror image."""
    height, width, channels = x.shape
    rows, columns, _ = out.shape
    for r in range(rows):
        i = top + r
        if mirrored and i < 0:
            i = -i
        if mirrored and i >= height:
            i = 2 * height - 2 - i
        for c in range(columns):
            j = left + c
            if mirrored and j < 0:
                j = -j
            if mirrored and j >= width:
                j = 2 * width - 2 - j
            if i < 0 or i >= height or j < 0 or j >= width:
                for k in range(channels):
                    out[r, c, k] = _ZERO
            else:
                for k in range(channels):
                    out[r, c, k] = x[i, j, k]


@njit(nogil=True, cache=True, fastmath=_MATH)
def bend(bias, limited, x):
    """Add a bias to (pixels, channels), then ReLU6 of the first `limited` channels."""
    pixels, channels = x.shape
    for p in range(pixels):
        for k in range(limited):
            x[p, k] = min(max(x[p, k] + bias[k], _ZERO), _SIX)
        for k in range(limited, channels):
            x[p, k] = x[p, k] + bias[k]


@njit(nogil=True, cache=True, fastmath=_MATH)
def couple(x, top, left, scale, shift, out):
    """The first channels, as many as `scale` has, times that, plus `shift`; the others as in x."""
    rows, columns, channels = out.shape
    half = scale.shape[2]
    for r in range(rows):
        i = top + r
        for c in range(columns):
            j = left + c
            for k in range(half):
                out[r, c, k] = x[i, j, k] * scale[r, c, k] + shift[r, c, k]
            for k in range(half, channels):
                out[r, c, k] = x[i, j, k]


@njit(nogil=True, cache=True, fastmath=_MATH)
def put(result, x, top, left, shortcut, add, out):
    """Place a result in a map, or add it to what is there; with a shortcut, x is added too."""
    rows, columns, channels = result.shape
    for r in range(rows):
        i = top + r
        for c in range(columns):
            j = left + c
            if shortcut and add:
                for k in range(channels):
                    out[i, j, k] += result[r, c, k] + x[i, j, k]
            elif shortcut:
                for k in range(channels):
                    out[i, j, k] = result[r, c, k] + x[i, j, k]
            elif add:
                for k in range(channels):
                    out[i, j, k] += result[r, c, k]
            else:
                for k in range(channels):
                    out[i, j, k] = result[r, c, k]


@njit(nogil=True, cache=True, fastmath=_MATH)
def depthwise(x, weight, out):
    """Depthwise 3x3 convolution."""
    rows, columns, channels = out.shape
    for r in range(rows):
        for c in range(columns):
            for k in range(channels):
                out[r, c, k] = _taps(x, weight, r, c, k)


@njit(nogil=True, cache=True, fastmath=_MATH)
def depthwise_relu6(x, weight, out):
    """Depthwise 3x3 convolution, then ReLU6."""
    rows, columns, channels = out.shape
    for r in range(rows):
        for c in range(columns):
            for k in range(channels):
                out[r, c, k] = min(max(_taps(x, weight, r, c, k), _ZERO), _SIX)


@njit(inline="always", fastmath=_MATH)
def _half(x, weight, r, c, h, k):
    return (
        x[r, c, h, k] * weight[0, h, k]
        + x[r, c + 1, h, k] * weight[1, h, k]
        + x[r, c + 2, h, k] * weight[2, h, k]
        + x[r + 1, c, h, k] * weight[3, h, k]
        + x[r + 1, c + 1, h, k] * weight[4, h, k]
        + x[r + 1, c + 2, h, k] * weight[5, h, k]
        + x[r + 2, c, h, k] * weight[6, h, k]
        + x[r + 2, c + 1, h, k] * weight[7, h, k]
        + x[r + 2, c + 2, h, k] * weight[8, h, k]
    )


@njit(nogil=True, cache=True, fastmath=_MATH)
def gate(x, weight, out):
    """Depthwise 3x3 convolution, then GELU of the first half of the channels times the second.

    x is (rows, columns, 2, channels), and weight accordingly.
    """
    rows, columns, channels = out.shape
    for r in range(rows):
        for c in range(columns):
            for k in range(channels):
                opening = _gelu(_half(x, weight, r, c, 0, k))
                out[r, c, k] = opening * _half(x, weight, r, c, 1, k)


@njit(inline="always", fastmath=_MATH)
def _pair(x, weight, r, c, h, q, k):
    total = _ZERO
    for i in range(3):
        for j in range(3):
            total += x[r + i, c + j, h, 0, k] * weight[3 * i + j, h, 0, q, k]
            total += x[r + i, c + j, h, 1, k] * weight[3 * i + j, h, 1, q, k]
    return total


@njit(nogil=True, cache=True, fastmath=_MATH)
def gate_pairs(x, weight, out):
    """Like `gate` after a 3x3 convolution in groups of two channels.

    x is (rows, columns, 2 halves, 2 of a group, groups), out (rows, columns, 2, groups), weight (9,
    2 halves, 2 in, 2 out, groups).
    """
    rows, columns, _, groups = out.shape
    for r in range(rows):
        for c in range(columns):
            for k in range(groups):
                opening = _gelu(_pair(x, weight, r, c, 0, 0, k))
                out[r, c, 0, k] = opening * _pair(x, weight, r, c, 1, 0, k)
            for k in range(groups):
                opening = _gelu(_pair(x, weight, r, c, 0, 1, k))
                out[r, c, 1, k] = opening * _pair(x, weight, r, c, 1, 1, k)


@njit(nogil=True, cache=True, fastmath=_MATH)
def add_squares(x, out):
    """Add the square of every value of (pixels, channels) to out, (channels,)."""
    pixels, channels = x.shape
    for p in range(pixels):
        for k in range(channels):
            out[k] += x[p, k] * x[p, k]
