"""Training batches: crops of a list of pairs, drawn so that any step can be drawn again.

What step n sees depends on the seed and on n alone. That is what makes a resumed run equal to one
that was never stopped, and several processes equal to one, without any generator's state on disk.
"""

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from cddfuse.errors import InputError
from cddfuse.pair import ImagePair

_TRIES = 20  # redraws of a random crop without contrast before it is taken anyway


class Batches(Protocol):
    """Where `train` gets its batches from."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass over the data."""
        ...

    def batch(self, step: int) -> ImagePair:
        """The batch of a step: images (B, 1, H, W) in [0, 1]."""
        ...


class Crops:
    """Square crops of grey pairs, on a grid or at random places.

    Args:
        pairs: images (1, H, W) of any sizes that hold at least one crop.
        size: side of a crop.
        batch: crops per batch. What is left over at the end of an epoch waits for another one.
        sampling: "grid" takes every crop at multiples of `stride` once an epoch, in a new order;
            "random" takes one crop of every pair an epoch, anywhere.
        min_contrast: least (p90 - p10) / p90 of a crop, in both images.
        flips: mirror at random in both directions.
        jitter: largest share by which contrast and brightness of an image change at random.
        dimming: largest share by which an image is darkened at random; black stays black.
        seed: of the order, the places, the flips, the jitter and the dimming.
    """

    def __init__(
        self,
        pairs: Sequence[ImagePair],
        *,
        size: int,
        batch: int,
        sampling: Literal["grid", "random"] = "random",
        stride: int = 200,
        min_contrast: float = 0.0,
        flips: bool = False,
        jitter: float = 0.0,
        dimming: float = 0.0,
        seed: int = 0,
    ) -> None:
        self._pairs = pairs
        self._size = size
        self._batch = batch
        self._min_contrast = min_contrast
        self._flips = flips
        self._jitter = jitter
        self._dimming = dimming
        self._seed = seed
        small = [pair.name for pair in pairs if min(pair.first.shape[-2:]) < size]
        if small:
            raise InputError(
                f"{len(small)} of {len(pairs)} pairs are smaller than the crop of {size} pixels "
                f"({small[0]} for one): train with a smaller --crop or leave them out."
            )
        self._places: list[tuple[int, tuple[int, int] | None]]
        if sampling == "random":
            self._places = [(index, None) for index in range(len(pairs))]
        else:
            self._places = [
                (index, corner)
                for index, pair in enumerate(pairs)
                for corner in _grid(pair.first.shape[-2:], size, stride)
                if self._contrast(_cut(pair, corner, size))
            ]
        if len(self._places) < batch:
            raise InputError(
                f"the data give {len(self._places)} crops of {size} pixels, fewer than a batch of "
                f"{batch}: add pairs, or use a smaller --batch, --stride or --min-contrast."
            )

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass over the data."""
        return len(self._places) // self._batch

    def batch(self, step: int) -> ImagePair:
        """The batch of a step: images (B, 1, size, size)."""
        epoch, position = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng((self._seed, 0, epoch)).permutation(len(self._places))
        chosen = order[position * self._batch : (position + 1) * self._batch]
        random = np.random.default_rng((self._seed, 1, step))
        places = [self._places[place] for place in chosen]
        return default_collate([self._crop(index, corner, random) for index, corner in places])

    def _crop(
        self, index: int, corner: tuple[int, int] | None, random: np.random.Generator
    ) -> ImagePair:
        pair = self._pairs[index]
        crop = _cut(pair, corner, self._size) if corner else self._random_crop(pair, random)
        flipped = [axis for axis in (-2, -1) if self._flips and random.random() < 0.5]
        first, second = (image.flip(flipped) for image in (crop.first, crop.second))
        if self._jitter:
            first, second = (_jittered(image, self._jitter, random) for image in (first, second))
        if self._dimming:
            one, two = (float(share) for share in random.uniform(0, self._dimming, 2))
            first, second = first * (1 - one), second * (1 - two)
        return ImagePair(first, second, pair.name)

    def _random_crop(self, pair: ImagePair, random: np.random.Generator) -> ImagePair:
        height, width = (side - self._size + 1 for side in pair.first.shape[-2:])
        for _ in range(_TRIES):
            corner = (int(random.integers(height)), int(random.integers(width)))
            crop = _cut(pair, corner, self._size)
            if self._contrast(crop):
                break
        return crop

    def _contrast(self, crop: ImagePair) -> bool:
        return not self._min_contrast or all(
            contrast(image) >= self._min_contrast for image in (crop.first, crop.second)
        )


def contrast(image: Tensor) -> float:
    """(p90 - p10) / p90 of the grey levels; 0 for a black image."""
    low, high = np.percentile(image.numpy(), (10, 90))
    return float((high - low) / high) if high > 0 else 0.0


def _grid(shape: Sequence[int], size: int, stride: int) -> list[tuple[int, int]]:
    height, width = shape
    rows, columns = (range(0, side - size + 1, stride) for side in (height, width))
    return [(top, left) for top in rows for left in columns]


def _cut(pair: ImagePair, corner: tuple[int, int], size: int) -> ImagePair:
    top, left = corner
    window = (..., slice(top, top + size), slice(left, left + size))
    return ImagePair(pair.first[window], pair.second[window], pair.name)


def _jittered(image: Tensor, share: float, random: np.random.Generator) -> Tensor:
    gain, offset = (float(x) for x in random.uniform(-share, share, 2))
    middle = image.mean()
    return torch.clamp((image - middle) * (1 + gain) + middle * (1 + offset), 0, 1)
