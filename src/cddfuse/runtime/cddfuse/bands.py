"""Half blocks over bands of rows, whose wide maps stay in a cache, such as the L2 of a GPU.

A half block writes maps up to four times as wide as its input and reads them again at once. Over
the whole image they go to memory and back; in a band of 60 rows of 640 pixels they take 20 MB in
bf16.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from torch import Tensor

from cddfuse.runtime.cddfuse.whole import HalfBlocks

Weights = TypeVar("Weights")


def in_bands(functions: HalfBlocks, rows: int) -> HalfBlocks:
    """The same functions, of which those that need a pixel's neighbours only go by bands of rows.

    Detail nodes do not, for they reflect the image at its borders.
    """
    return functions._replace(
        queries_keys_values=partial(_by_bands, functions.queries_keys_values, rows),
        feed_forward=partial(_by_bands, functions.feed_forward, rows),
    )


def _by_bands(
    function: Callable[[Tensor, Weights], Tensor], rows: int, x: Tensor, weights: Weights
) -> Tensor:
    """(B, H, W, C) to (B, H, W, D), by a function that sees one row above and one below."""
    batch, height = x.shape[:2]
    if batch == 1 and height <= rows:
        return function(x, weights)
    result = None
    for place, image in enumerate(x.split(1)):  # a band of one image is contiguous
        for top in range(0, height, rows):
            bottom = min(top + rows, height)
            above, below = max(top - 1, 0), min(bottom + 1, height)
            band = function(image[:, above:below], weights)
            if result is None:
                result = band.new_empty(*x.shape[:3], band.shape[3])
            result[place, top:bottom] = band[0, top - above : bottom - above]
    assert result is not None  # there is no batch of nothing
    return result
