"""Matrix products for the compiled layers, written in LLVM IR.

Compilers do not find this form, and libraries cannot be called from compiled loops. It is at least
as fast as they are, as everything else of a row of pixels is in the cache.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from cddfuse.runtime.cddfuse.jit import part

ROWS, LANES = 6, 8  # twelve vectors of sums, two of a matrix, and one for a factor: 15 registers
PANEL = 2 * LANES
SOME = 4  # rows of the last product, if no more are left


def _tile(rows: int, vectors: int) -> Any:
    """A product of `rows` rows by as many columns as fit `vectors` vectors, kept in registers.

    Arguments are addresses, and strides in numbers: of the left matrix (rows and depth), of the
    right one (depth), and of the result (rows), which it is added to unless `fresh`.
    """

    @intrinsic
    def tile(typing, a, a_row, a_deep, b, b_deep, depth, out, out_row, fresh):
        number, index = ir.FloatType(), ir.IntType(64)
        vector = ir.VectorType(number, LANES)
        nothing = ir.Constant(vector, [0.0] * LANES)
        first = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)

        def generate(context, builder, signature, arguments):
            a, a_row, a_deep, b, b_deep, depth, out, out_row, fresh = arguments

            def at(base, *steps, of):
                for count, stride in steps:
                    step = builder.mul(stride, count)
                    base = builder.add(base, builder.shl(step, index(2)))
                return builder.inttoptr(base, of.as_pointer())

            def place(row, part):
                return at(out, (index(row), out_row), (index(part), index(LANES)), of=vector)

            def load(pointer):
                return builder.load(pointer, align=4)

            sums = {
                (row, part): cgutils.alloca_once_value(builder, nothing)
                for row in range(rows)
                for part in range(vectors)
            }
            with builder.if_then(builder.not_(fresh)):
                for where, total in sums.items():
                    builder.store(load(place(*where)), total)
            with cgutils.for_range(builder, depth) as loop:
                k = loop.index
                right = [
                    load(at(b, (k, b_deep), (index(part), index(LANES)), of=vector))
                    for part in range(vectors)
                ]
                for row in range(rows):
                    factor = load(at(a, (index(row), a_row), (k, a_deep), of=number))
                    factor = builder.insert_element(nothing, factor, ir.IntType(32)(0))
                    factor = builder.shuffle_vector(factor, nothing, first)
                    for part in range(vectors):
                        total = sums[row, part]
                        product = builder.fmul(factor, right[part], flags=("contract",))
                        product = builder.fadd(product, builder.load(total), flags=("contract",))
                        builder.store(product, total)
            for where, total in sums.items():
                builder.store(builder.load(total), place(*where), align=4)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 8, types.boolean), generate

    return tile


_many, _some, _one, _square = _tile(ROWS, 2), _tile(SOME, 2), _tile(1, 2), _tile(LANES, 1)


def panels(matrix: np.ndarray) -> np.ndarray:
    """A matrix (depth, columns) as `multiply` wants it: (columns / PANEL, depth, PANEL).

    Columns that are missing become zeros.
    """
    depth, columns = matrix.shape
    matrix = np.pad(matrix, ((0, 0), (0, -columns % PANEL)))
    return np.ascontiguousarray(matrix.reshape(depth, -1, PANEL).transpose(1, 0, 2), np.float32)


@njit(inline="always")
def address(x):
    """Address of the data of an array."""
    return np.intp(x.ctypes.data)


@njit(inline="always")
def _next_rows(begin, count):
    """How many rows a product has, and its first one; some rows are computed twice."""
    left = count - begin
    if left <= SOME and count >= SOME:
        return SOME, count - SOME
    if count >= ROWS:
        return ROWS, min(begin, count - ROWS)
    return left, begin


@njit(inline="always")
def _product(rows, left, stride, right, depth, to, wide, fresh):
    if rows == ROWS:
        _many(left, stride, 1, right, PANEL, depth, to, wide, fresh)
    elif rows == SOME:
        _some(left, stride, 1, right, PANEL, depth, to, wide, fresh)
    else:
        for r in range(rows):
            a, c = left + 4 * r * stride, to + 4 * r * wide
            _one(a, stride, 1, right, PANEL, depth, c, wide, fresh)


@part()
def multiply(x, start, matrices, out, count):
    """Fill `count` rows of out with products of rows of x, of which columns begin at `start`."""
    panels, depth, _ = matrices.shape
    stride, wide = x.shape[1], out.shape[1]
    for begin in range(0, count, ROWS):
        rows, row = _next_rows(begin, count)
        left = address(x) + 4 * (row * stride + start)
        for panel in range(panels):
            right = address(matrices) + 4 * panel * depth * PANEL
            to = address(out) + 4 * (row * wide + panel * PANEL)
            _product(rows, left, stride, right, depth, to, wide, True)


@part()
def multiply_three(x, y, z, matrices, out, count):
    """Fill rows of out with what a 3x3 convolution makes of three rows of pixels.

    x, y, z are (count + 2, channels), matrices (3, panels, 3 * channels, PANEL): three pixels next
    to each other are one row of a matrix.
    """
    _, panels, depth, _ = matrices.shape
    stride, wide = x.shape[1], out.shape[1]
    for begin in range(0, count, ROWS):
        rows, row = _next_rows(begin, count)
        for panel in range(panels):
            to = address(out) + 4 * (row * wide + panel * PANEL)
            for i, source in enumerate((x, y, z)):
                left = address(source) + 4 * row * stride
                right = address(matrices) + 4 * (i * panels + panel) * depth * PANEL
                _product(rows, left, stride, right, depth, to, wide, i == 0)


@part()
def squares_of_heads(x, count, out):
    """Products of the first half of the channels with the second half, summed over pixels.

    Of heads of eight channels only: x is (pixels, 2 * channels or more), out (heads, 8, 8).
    """
    wide = x.shape[1]
    for head in range(out.shape[0]):
        left = address(x) + 4 * LANES * head
        to = address(out) + 4 * LANES * LANES * head
        _square(left, 1, wide, left + 4 * LANES * len(out), wide, count, to, LANES, True)
