"""Second central moments of images."""

from collections.abc import Callable
from functools import partial
from itertools import combinations_with_replacement

import torch
from torch import Tensor

from cddfuse.metrics.loops import loops, of_each
from cddfuse.threads import parallel_map

_CHUNK = 32_768  # pixels at a time, which stay in the cache


def scatter(*images: Tensor) -> Tensor:
    """Scatter matrix of K images (..., B, 1, H, W), H W times their covariances: (..., B, K, K).

    In float64. For integer levels it is exact up to one rounding: a constant image, and the
    difference of two equal ones, has exactly none. Sums are multiplied before they are divided, so
    that the matrix is symmetric to the last bit.
    """
    if compiled := loops(*images):
        return _by_pairs(compiled.products, images)
    lines = [image.flatten(-3) for image in torch.broadcast_tensors(*images)]
    # The first pixel is subtracted instead of the mean, which is not known yet.
    starts = torch.stack([line[..., :1] for line in lines], -2).double()
    chunks = zip(*(line.split(_CHUNK, -1) for line in lines), strict=True)
    sums = parallel_map(partial(_sums, starts), chunks)
    totals, products = (sum(parts[1:], parts[0]) for parts in zip(*sums, strict=True))
    return products - totals @ totals.mT / lines[0].shape[-1]


def _by_pairs(products: Callable[..., object], images: tuple[Tensor, ...]) -> Tensor:
    shape = torch.broadcast_shapes(*(image.shape for image in images))
    pixels, numbers = shape[-2] * shape[-1], range(len(images))
    found = torch.empty(*shape[:-3], len(images), len(images), dtype=torch.float64)
    for i, j in combinations_with_replacement(numbers, 2):
        one, other, product = of_each(products, images[i], images[j]).unbind(-1)
        found[..., i, j] = found[..., j, i] = product - one * other / pixels
    return found


def _sums(starts: Tensor, chunk: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    pixels = torch.stack(chunk, -2).double() - starts
    return pixels.sum(-1, keepdim=True), pixels @ pixels.mT
