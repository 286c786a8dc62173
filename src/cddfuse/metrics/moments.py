"""How images vary, and vary together, as wholes."""

from collections.abc import Callable
from functools import partial
from itertools import combinations_with_replacement

import torch
from torch import Tensor

from cddfuse.metrics.loops import loops, of_each
from cddfuse.threads import parallel_map

_CHUNK = 32_768  # pixels at once, so that their differences stay in the cache


def variations(*images: Tensor) -> Tensor:
    """Sums of products of pixels less their means, for each pair of K images: (..., B, K, K).

    In float64, of images (..., B, 1, H, W). Exact for whole levels up to one rounding: nothing is
    left of a flat image, nor of the difference of two equal ones. Totals are multiplied before they
    are divided, so that the product of two images is the same in both orders.
    """
    if compiled := loops(*images):
        return _by_pairs(compiled.products, images)
    lines = [image.flatten(-3) for image in torch.broadcast_tensors(*images)]
    # Less the first pixel, for the means are not known yet and 0 may be far away.
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
