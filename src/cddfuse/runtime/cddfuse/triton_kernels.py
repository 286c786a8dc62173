"""Kernels in Triton for the transformer blocks of CDDFuse: two per half block, one for sums.

The first kernel of a half block writes the wide map (up to 256 channels) once; the second reads it
once, and nothing else that is wide exists. Maps are rows of pixels, (B * H * W, channels); products
are accumulated, and everything else is computed, in single precision. Offsets are 64-bit integers:
a wide map may have more than 2^31 elements.

Sizes that are powers of two are parameters of the compiler: C channels, D of the wide map, BP
pixels and BK channels of a program. `triton_layers` calls them.
"""

import triton
import triton.language as tl


@triton.jit
def norm_expand(
    x,
    weight,
    bias,
    matrix,
    wide,
    pixels,
    epsilon,
    C: tl.constexpr,
    D: tl.constexpr,
    BP: tl.constexpr,
    BK: tl.constexpr,
):
    """Layer norm of x (pixels, C), then its product with matrix (D, C): wide (pixels, D)."""
    rows = tl.program_id(0).to(tl.int64) * BP + tl.arange(0, BP)
    c = tl.arange(0, C)
    k = tl.program_id(1) * BK + tl.arange(0, BK)
    inside = (rows < pixels)[:, None]
    values = tl.load(x + rows[:, None] * C + c[None, :], inside, 0.0).to(tl.float32)
    values -= (tl.sum(values, 1) / C)[:, None]
    values *= tl.rsqrt(tl.sum(values * values, 1) / C + epsilon)[:, None]
    scale, shift = tl.load(weight + c).to(tl.float32), tl.load(bias + c).to(tl.float32)
    values = values * scale[None, :] + shift[None, :]
    across = tl.load(matrix + k[None, :] * C + c[:, None])
    product = tl.dot(values.to(across.dtype), across, input_precision="ieee")
    # Pixels outside are not written: the zeros around an image come after norm and product.
    tl.store(wide + rows[:, None] * D + k[None, :], product.to(wide.dtype.element_ty), inside)


@triton.jit
def _mixed(wide, kernel, rows, y, x, k, inside, height, width, D: tl.constexpr, G: tl.constexpr):
    """3x3 convolution in groups of G channels: output channels k of some pixels."""
    result = tl.zeros((rows.shape[0], k.shape[0]), tl.float32)
    for place in tl.range(9):
        down, right = place // 3 - 1, place % 3 - 1
        there = (y + down >= 0) & (y + down < height) & (x + right >= 0) & (x + right < width)
        seen = (inside & there)[:, None]
        pixel = (rows + down * width + right)[:, None] * D
        for j in tl.static_range(G):
            values = tl.load(wide + pixel + (k // G * G + j)[None, :], seen, 0.0)
            weights = tl.load(kernel + (k * 9 + place) * G + j).to(tl.float32)
            result += values.to(tl.float32) * weights[None, :]
    return result


@triton.jit
def _add(total, x, out, rows, inside, C: tl.constexpr):
    """Write the sum of total (rows, C) and of the same rows of x into out."""
    places = rows[:, None] * C + tl.arange(0, C)[None, :]
    total += tl.load(x + places, inside[:, None], 0.0).to(tl.float32)
    tl.store(out + places, total.to(out.dtype.element_ty), inside[:, None])


@triton.jit
def gate_project(
    wide,
    kernel,
    matrix,
    x,
    out,
    pixels,
    height,
    width,
    C: tl.constexpr,
    K: tl.constexpr,
    G: tl.constexpr,
    BP: tl.constexpr,
    BK: tl.constexpr,
):
    """Second half of a feed-forward: wide (pixels, 2K) is convolved, gated, projected, added to x.

    kernel is (2K, 3, 3, G), matrix (C, K), x and out are (pixels, C).
    """
    rows = tl.program_id(0).to(tl.int64) * BP + tl.arange(0, BP)
    inside = rows < pixels
    down, right = rows // width % height, rows % width
    c = tl.arange(0, C)
    total = tl.zeros((BP, C), tl.float32)
    for first in tl.range(0, K, BK):
        k = first + tl.arange(0, BK)
        gate = _mixed(wide, kernel, rows, down, right, k, inside, height, width, 2 * K, G)
        value = _mixed(wide, kernel, rows, down, right, k + K, inside, height, width, 2 * K, G)
        opened = 0.5 * gate * (1 + tl.erf(gate * 0.7071067811865476)) * value
        across = tl.load(matrix + c[None, :] * K + k[:, None])
        total += tl.dot(opened.to(across.dtype), across, input_precision="ieee")
    _add(total, x, out, rows, inside, C)


@triton.jit
def attend_project(
    wide,
    kernel,
    matrix,
    x,
    out,
    pixels,
    height,
    width,
    C: tl.constexpr,
    BP: tl.constexpr,
    BK: tl.constexpr,
):
    """Second half of an attention: the values of wide (pixels, 3C) by an image's matrix, plus x.

    kernel is (3C, 3, 3, 1), matrix (B, C, C). Axis 1 of the grid counts images: pixels are those of
    one.
    """
    image = tl.program_id(1).to(tl.int64)
    place = tl.program_id(0).to(tl.int64) * BP + tl.arange(0, BP)
    inside = place < pixels
    rows = image * pixels + place
    down, right = place // width, place % width
    c = tl.arange(0, C)
    total = tl.zeros((BP, C), tl.float32)
    for first in tl.range(0, C, BK):
        k = first + tl.arange(0, BK)
        value = _mixed(wide, kernel, rows, down, right, k + 2 * C, inside, height, width, 3 * C, 1)
        across = tl.load(matrix + image * C * C + c[None, :] * C + k[:, None])
        total += tl.dot(value.to(across.dtype), across, input_precision="ieee")
    _add(total, x, out, rows, inside, C)


@triton.jit
def sum_products(
    wide,
    kernel,
    products,
    squares,
    pixels,
    height,
    width,
    share,
    C: tl.constexpr,
    BP: tl.constexpr,
    BK: tl.constexpr,
):
    """Products of queries and keys, and squares of both, over a share of the pixels of an image.

    wide is (B * pixels, 3C); products (B, shares, C, C) and squares (B, shares, 2C) are in single
    precision. Axis 0 of the grid counts shares, axis 1 images, axis 2 blocks of BK queries.
    """
    part, image = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    q, c = tl.program_id(2) * BK + tl.arange(0, BK), tl.arange(0, C)
    total = tl.zeros((BK, C), tl.float32)
    of_queries, of_keys = tl.zeros((BK,), tl.float32), tl.zeros((C,), tl.float32)
    end = tl.minimum((part + 1) * share, pixels)
    for start in range(part * share, end, BP):
        place = start + tl.arange(0, BP)
        inside = place < end  # or pixels of the next share would count twice
        rows = image * pixels + place
        down, right = place // width, place % width
        query = _mixed(wide, kernel, rows, down, right, q, inside, height, width, 3 * C, 1)
        key = _mixed(wide, kernel, rows, down, right, c + C, inside, height, width, 3 * C, 1)
        of_queries += tl.sum(query * query, 0)
        of_keys += tl.sum(key * key, 0)
        precise = wide.dtype.element_ty
        total += tl.dot(tl.trans(query.to(precise)), key.to(precise), input_precision="ieee")
    place = image * tl.num_programs(0) + part
    tl.store(products + place * C * C + q[:, None] * C + c[None, :], total)
    tl.store(squares + place * 2 * C + q, of_queries)
    tl.store(squares + place * 2 * C + C + c, of_keys)
