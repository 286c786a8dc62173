"""Depthwise 3x3 convolution of a row of pixels, written in LLVM IR.

Eight channels at a time move along the row, with their nine weights and two partial sums in
registers. Compiled loops need more addresses than there are registers and take longer.
"""

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.polynomial import chebyshev

from cddfuse.runtime.cddfuse.jit import part
from cddfuse.runtime.cddfuse.products import LANES, address

PAD = 16
"""Padding of channels in rows of pixels: with a power of two, all pixels of a row would map to the
same few cache sets."""

# erf(z) / z as a polynomial of z^2 in [0, 4^2], to 3e-7 of erf: libraries have no fast erf.
_EDGE = 4
_POINTS = (1 - np.cos(np.pi * (np.arange(256) + 0.5) / 256)) / 2 * _EDGE**2
_ERF = [math.erf(z) / z for z in np.sqrt(_POINTS)]
_FIT = chebyshev.cheb2poly(chebyshev.chebfit(_POINTS / 8 - 1, _ERF, 14))

_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_INDEX = ir.IntType(64)
Value = Any


def lanes(places: np.ndarray) -> np.ndarray:
    """Weights (9, channels) as `depthwise_row` wants them: (channels / 8, 9, 8)."""
    return np.ascontiguousarray(places.reshape(9, -1, LANES).swapaxes(0, 1), np.float32)


class _Vectors:
    """Arithmetic of eight numbers."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.builder = builder

    def number(self, value: float) -> Value:
        return ir.Constant(_VECTOR, [float(np.float32(value))] * LANES)

    def times(self, x: Value, y: Value) -> Value:
        return self.builder.fmul(x, y, flags=("contract",))

    def plus(self, x: Value, y: Value) -> Value:
        return self.builder.fadd(x, y, flags=("contract",))

    def limited(self, x: Value, low: float, high: float) -> Value:
        """NaN stays NaN."""
        for sign, bound in (("<", self.number(low)), (">", self.number(high))):
            x = self.builder.select(self.builder.fcmp_ordered(sign, x, bound), bound, x)
        return x

    def gelu(self, x: Value) -> Value:
        """Half of x (1 + erf(x / sqrt 2)), in two interleaved chains: one would have to wait."""
        z = self.limited(self.times(x, self.number(math.sqrt(0.5))), -_EDGE, _EDGE)
        t = self.plus(self.times(self.times(z, z), self.number(1 / 8)), self.number(-1))
        u = self.times(t, t)
        even, odd = (self._polynomial(_FIT[start::2], u) for start in (0, 1))
        ratio = self.plus(self.times(odd, t), even)
        share = self.plus(self.times(z, ratio), self.number(1))
        return self.times(self.times(x, self.number(0.5)), share)

    def _polynomial(self, factors: np.ndarray, x: Value) -> Value:
        total = self.number(factors[-1])
        for factor in factors[-2::-1]:
            total = self.plus(self.times(total, x), self.number(factor))
        return total


def _slide(last: str = "", *, fresh: bool = True) -> Any:
    """Eight channels of `count` pixels; arguments are addresses, and strides in numbers.

    The result is added to what is there unless `fresh`, and then goes through what comes `last`:
    "relu6", "gelu", or "times", eight factors for each pixel, which lie at `factors`.
    """

    @intrinsic
    def slide(typing, x, y, z, stride, weight, count, out, out_stride, factors):
        def generate(context, builder, signature, arguments):
            x, y, z, stride, weight, count, out, out_stride, factors = arguments
            vectors, step = _Vectors(builder), _INDEX(LANES)

            def at(base, place, stride):
                offset = builder.shl(builder.mul(place, stride), _INDEX(2))
                return builder.inttoptr(builder.add(base, offset), _VECTOR.as_pointer())

            def load(base, place, stride):
                return builder.load(at(base, place, stride), align=4)

            def pixel(place):
                return [load(row, place, stride) for row in (x, y, z)]

            def plus(total, pixel, column):
                for row, value in enumerate(pixel):
                    total = vectors.plus(vectors.times(value, weights[3 * row + column]), total)
                return total

            weights = [load(weight, _INDEX(place), step) for place in range(9)]
            none = vectors.number(0)
            # Unfinished sums of the next two results, from the pixels up to now.
            one, two = pixel(_INDEX(0)), pixel(_INDEX(1))
            soon = cgutils.alloca_once_value(builder, plus(plus(none, one, 0), two, 1))
            later = cgutils.alloca_once_value(builder, plus(none, two, 0))
            with cgutils.for_range(builder, count) as loop:
                new = pixel(builder.add(loop.index, _INDEX(2)))
                to = at(out, loop.index, out_stride)
                total = plus(builder.load(soon), new, 2)
                builder.store(plus(builder.load(later), new, 1), soon)
                builder.store(plus(none, new, 0), later)
                if not fresh:
                    total = vectors.plus(total, builder.load(to, align=4))
                if last == "relu6":
                    total = vectors.limited(total, 0, 6)
                elif last == "gelu":
                    total = vectors.gelu(total)
                elif last == "times":
                    total = vectors.times(total, load(factors, loop.index, step))
                builder.store(total, to, align=4)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 9), generate

    return slide


_put, _put_relu6, _put_gelu, _put_times = (_slide(last) for last in ("", "relu6", "gelu", "times"))
_add_gelu, _add_times = (_slide(last, fresh=False) for last in ("gelu", "times"))


@part()
def depthwise_row(x, y, z, weight, limited, out):
    """Depthwise 3x3 convolution of three rows, (columns + 2, channels), perhaps then ReLU6."""
    count, stride, wide = len(out), x.shape[1], out.shape[1]
    for block in range(len(weight)):
        here = 4 * LANES * block
        a, b, c, to = address(x) + here, address(y) + here, address(z) + here, address(out) + here
        w = address(weight) + 9 * here
        if limited:
            _put_relu6(a, b, c, stride, w, count, to, wide, 0)
        else:
            _put(a, b, c, stride, w, count, to, wide, 0)


@part()
def gate_row(x, y, z, weight, room, out):
    """3x3 convolution, then GELU of the first half of the channels times the second half.

    Args:
        x: three rows with y and z, (columns + 2, channels).
        weight: (2 halves, outputs, groups / 8, inputs, 9, 8) of groups with one or two inputs and
            outputs. The first channels of all groups lie before the second ones.
        room: for (columns, 8).
        out: (columns, half of the channels).
    """
    _, outputs, blocks, inputs, _, _ = weight.shape
    count, stride, wide, factors = len(out), x.shape[1], out.shape[1], address(room)
    groups = 4 * LANES * blocks
    for block in range(outputs * blocks):
        for h in range(2):
            w = address(weight) + 4 * LANES * 9 * inputs * (h * outputs * blocks + block)
            here = h * outputs * groups + 4 * LANES * (block % blocks)
            a, b, c = address(x) + here, address(y) + here, address(z) + here
            to = address(out) + 4 * LANES * block
            if inputs == 1 and h == 0:
                _put_gelu(a, b, c, stride, w, count, factors, LANES, 0)
            elif inputs == 1:
                _put_times(a, b, c, stride, w, count, to, wide, factors)
            elif h == 0:
                _put(a, b, c, stride, w, count, factors, LANES, 0)
            else:
                _put(a, b, c, stride, w, count, to, wide, 0)
            if inputs == 2:
                a, b, c, w = a + groups, b + groups, c + groups, w + 4 * LANES * 9
                if h == 0:
                    _add_gelu(a, b, c, stride, w, count, factors, LANES, 0)
                else:
                    _add_times(a, b, c, stride, w, count, to, wide, factors)
