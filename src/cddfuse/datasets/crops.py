"""Training batches: crops of a list of pairs, drawn so that any step can be drawn again.

What step n sees depends on the seed and on n alone. That is what makes a resumed run equal to one
that was never stopped, and several processes equal to one, without any generator's state on disk.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import default_collate

from cddfuse.datasets.augment import VEIL, jittered, taken, veiled
from cddfuse.errors import InputError
from cddfuse.pair import ImagePair

Size = tuple[int, int]
Corner = tuple[int, int]
Cut = Callable[[Corner, Size], ImagePair]
"""Cuts a crop of that height and width out of a pair."""
Sampling = Literal["grid", "random", "whole"]
"""Where crops lie."""

SMALLEST = 16
"""Pixels that each side of an image must have for all losses."""

_TRIES = 20  # redraws of a random crop without contrast before it is taken anyway


@dataclass(frozen=True)
class Share:
    """Which crops of a batch a process makes: every `count`-th from the `rank`-th on."""

    rank: int = 0
    count: int = 1

    exchange: Callable[[list[int]], list[int]] = field(default=lambda values: values)
    """Sums over all processes, value by value."""

    tell: Callable[[Any, int], Any] = field(default=lambda value, rank: value)
    """What the process of that rank has, in all processes."""


WHOLE = Share()


class Batches(Protocol):
    """Where `train` gets its batches from."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass over the data."""
        ...

    def batch(self, step: int, share: Share = WHOLE) -> ImagePair:
        """A process' share of the batch of a step: images (B / count, 1, H, W) in [0, 1]."""
        ...


@runtime_checkable
class OnDisk(Protocol):
    """Pairs whose size is known before they are decoded, and that can be decoded ahead."""

    def size(self, index: int) -> Size:
        """Height and width of a pair."""
        ...

    def cutter(self, index: int) -> Cut:
        """Decode a pair; what is given cuts crops out of it."""
        ...

    def request(self, indices: Sequence[int]) -> None:
        """Start to decode pairs that will be asked for next."""
        ...


class Crops:
    """Square crops of grey pairs, on a grid or at random places; or whole pairs.

    Args:
        pairs: images (1, H, W) of any sizes that hold at least one crop.
        size: side of a crop.
        batch: crops per batch. What is left over at the end of an epoch waits for another one.
        sampling: "grid" takes every crop at multiples of `stride` once an epoch, in a new order;
            "random" takes one crop of every pair an epoch, anywhere; "whole" takes every pair once
            an epoch, as large as it is.
        min_contrast: least (p90 - p10) / p90 of a crop, in both images.
        flips: mirror at random in both directions.
        jitter: largest share by which contrast and brightness of an image change at random.
        darken: largest share by which an image is darkened at random; black stays black.
        haze: share of the crops whose first image is veiled, as by smoke.
        cameras: share of the crops whose images look as if taken by other cameras (`taken`).
        cycle: epochs after which batches recur exactly; 0 is never.
        multiple: of what the sides of a whole pair have to be multiples; the pixels beyond, at the
            right and at the bottom, are left out.
        seed: of all that is random.
        kept: which crops of the grid have the contrast (see `with_contrast`), where that is known
            already; otherwise all pairs are looked through.
    """

    def __init__(
        self,
        pairs: Sequence[ImagePair],
        *,
        size: int,
        batch: int,
        sampling: Sampling = "random",
        stride: int = 200,
        min_contrast: float = 0.0,
        flips: bool = False,
        jitter: float = 0.0,
        darken: float = 0.0,
        haze: float = 0.0,
        cameras: float = 0.0,
        cycle: int = 0,
        multiple: int = 1,
        seed: int = 0,
        kept: NDArray[np.bool_] | None = None,
    ) -> None:
        self._pairs = pairs
        self._size = size
        self._batch = batch
        self._stride = stride
        self._sampling = sampling
        self._multiple = multiple
        self._min_contrast = min_contrast
        self._flips = flips
        self._jitter = jitter
        self._darken = darken
        self._haze = haze
        self._cameras = cameras
        self._cycle = cycle
        self._seed = seed
        self._epoch: tuple[int, NDArray[np.int64]] | None = None
        self._sizes = [_size(pairs, index) for index in range(len(pairs))]
        self._refuse_small_pairs()
        self._refuse_batches_of_sizes()
        self._ends, self._places = self._grid(kept)
        if len(self) < batch:
            raise InputError(self._too_few(), setting="batch")

    def __len__(self) -> int:
        """Crops in one pass over the data."""
        if self._sampling != "grid":
            return len(self._pairs)
        return int(self._ends[-1]) if self._places is None else len(self._places)

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass over the data."""
        return len(self) // self._batch

    def batch(self, step: int, share: Share = WHOLE) -> ImagePair:
        """A process' share of the batch of a step: images (B / count, 1, size, size).

        Whole pairs have their own height and width instead.
        """
        step = self._recurring(step)
        chosen = self._chosen(step)
        mine = range(share.rank, len(chosen), share.count)
        cuts, failure = self._cuts([chosen[position].pair for position in mine])
        drawn = self._drawn(step, chosen, dict(zip(mine, cuts, strict=False)), share, failure)
        if isinstance(self._pairs, OnDisk):
            ahead = self._chosen(self._recurring(step + 1))
            self._pairs.request([ahead[position].pair for position in mine])
        crops = [
            self._changed(self._crop(chosen[position], cut, drawn[position]), drawn[position])
            for position, cut in zip(mine, cuts, strict=True)
        ]
        return default_collate(crops)

    def _crop(self, place: "_Place", cut: Cut, draw: "_Draw") -> ImagePair:
        return cut(draw.corner, self._extent(place.pair))

    def _extent(self, index: int) -> Size:
        """Height and width of what is cut out of a pair."""
        if self._sampling != "whole":
            return self._size, self._size
        height, width = (side - side % self._multiple for side in self._sizes[index])
        return height, width

    def _recurring(self, step: int) -> int:
        """The step whose batch is that of a step."""
        return step % (self._cycle * self.steps_per_epoch) if self._cycle else step

    def _cuts(self, indices: list[int]) -> tuple[list[Cut], InputError | None]:
        """What cuts crops out of pairs; or nothing, and why one of them cannot be read."""
        try:
            once = {index: self._cutter(index) for index in dict.fromkeys(indices)}
        except InputError as error:
            return [], error
        return [once[index] for index in indices], None

    def _cutter(self, index: int) -> Cut:
        if isinstance(self._pairs, OnDisk):
            return self._pairs.cutter(index)
        return partial(_cut, self._pairs[index])

    def _chosen(self, step: int) -> list["_Place"]:
        """Where the crops of a batch lie: the pairs, and the corners if on a grid."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if self._epoch is None or self._epoch[0] != epoch:
            random = np.random.default_rng((self._seed, 0, epoch))
            self._epoch = epoch, random.permutation(len(self))
        numbers = self._epoch[1][position * self._batch : (position + 1) * self._batch]
        return [self._place(int(number)) for number in numbers]

    def _place(self, number: int) -> "_Place":
        if self._sampling != "grid":
            return _Place(number, None if self._sampling == "random" else (0, 0))
        number = number if self._places is None else int(self._places[number])
        index = int(np.searchsorted(self._ends, number, side="right"))
        number -= int(self._ends[index - 1]) if index else 0
        columns = _steps(self._sizes[index][1], self._size, self._stride)
        row, column = divmod(number, columns)
        return _Place(index, (row * self._stride, column * self._stride))

    def _drawn(
        self,
        step: int,
        chosen: list["_Place"],
        cuts: dict[int, Cut],
        share: Share,
        failure: InputError | None,
    ) -> list["_Draw"]:
        """All that is random in a batch, its crops drawn one after another.

        How often a crop is drawn before it has contrast is known to the process that has the pair.
        The others take the numbers of the round before, until a round does not change them: that is
        the second one, or the first if no crop had to be drawn again.
        """
        before = [1] * len(chosen)
        while True:
            random = np.random.default_rng((self._seed, 1, step))
            drawn = [
                self._draw(place, cuts.get(position), tries, random)
                for position, (place, tries) in enumerate(zip(chosen, before, strict=True))
            ]
            if share.count == 1 and failure is None:
                return drawn
            known = [cuts.get(position) and draw.tries for position, draw in enumerate(drawn)]
            tries = share.exchange([number or 0 for number in known])
            if 0 in tries:  # a process could not read its pairs
                raise share.tell(failure, tries.index(0) % share.count)
            if tries == before:
                return drawn
            before = tries

    def _draw(
        self, place: "_Place", cut: Cut | None, tries: int, random: np.random.Generator
    ) -> "_Draw":
        """What is random about a crop. Its contrast decides how often it is drawn, or `tries`."""
        corner = place.corner
        if corner is None:
            corner, tries = self._random_corner(place.pair, cut, tries, random)
        flipped = [axis for axis in (-2, -1) if self._flips and random.random() < 0.5]
        jitters = [
            tuple(float(x) for x in random.uniform(-self._jitter, self._jitter, 2))
            for _ in range(2 if self._jitter else 0)
        ]
        darker = random.uniform(0, self._darken, 2).tolist() if self._darken else []
        veil = random.random(VEIL) if self._haze and random.random() < self._haze else None
        other = bool(self._cameras) and random.random() < self._cameras
        cameras = random.integers(2**32, size=2).tolist() if other else []
        return _Draw(corner, tries, flipped, jitters, darker, veil, cameras)

    def _random_corner(
        self, index: int, cut: Cut | None, tries: int, random: np.random.Generator
    ) -> tuple[Corner, int]:
        height, width = (side - self._size + 1 for side in self._sizes[index])
        corner = (0, 0)
        for number in range(1, (tries if cut is None else _TRIES) + 1):
            corner = (int(random.integers(height)), int(random.integers(width)))
            if cut and with_contrast(cut(corner, self._extent(index)), self._min_contrast):
                return corner, number
        return corner, tries if cut is None else _TRIES

    def _changed(self, crop: ImagePair, draw: "_Draw") -> ImagePair:
        images = [image.flip(draw.flipped) for image in (crop.first, crop.second)]
        if draw.jitters:
            images = [jittered(*each) for each in zip(images, draw.jitters, strict=True)]
        if draw.darker:
            images = [image * (1 - each) for image, each in zip(images, draw.darker, strict=True)]
        if draw.veil is not None:
            images[0] = veiled(images[0], draw.veil)
        if draw.cameras:
            images = [taken(*each) for each in zip(images, draw.cameras, strict=True)]
        return ImagePair(images[0], images[1], crop.name)

    def _grid(
        self, kept: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
        """Crops up to the end of each pair, and the numbers of those that count if not all do."""
        if self._sampling != "grid":
            return np.zeros(0, np.int64), None
        counts = [grid_count(size, self._size, self._stride) for size in self._sizes]
        ends = np.cumsum(counts, dtype=np.int64)
        if not self._min_contrast:
            return ends, None
        if kept is None or len(kept) != ends[-1]:
            each = (
                grid_contrast(pair, self._size, self._stride, self._min_contrast)
                for pair in self._pairs
            )
            kept = np.concatenate(list(each))
        return ends, np.flatnonzero(kept)

    def _refuse_small_pairs(self) -> None:
        whole = self._sampling == "whole"
        least = max(self._multiple, SMALLEST) if whole else self._size
        small = [index for index, size in enumerate(self._sizes) if min(size) < least]
        if small:
            than = f"{least} pixels" if whole else f"the crop of {least} pixels"
            raise InputError(
                f"{len(small)} of {len(self._sizes)} pairs are smaller than {than} "
                f"({self._pairs[small[0]].name} for one): "
                f"{'' if whole else 'train with smaller crops or '}leave them out.",
                setting=None if whole else "crop",
            )

    def _refuse_batches_of_sizes(self) -> None:
        extents = {self._extent(index) for index in range(len(self._sizes))}
        if self._batch > 1 and len(extents) > 1:
            raise InputError(
                f"whole pairs of {len(extents)} sizes do not go into batches of {self._batch}: use "
                "a batch of 1, or crops.",
                setting="batch",
            )

    def _too_few(self) -> str:
        grid = self._sampling == "grid"
        cures = "a smaller batch, stride or min_contrast" if grid else "a smaller batch"
        kind = "pairs" if self._sampling == "whole" else f"crops of {self._size} pixels"
        return (
            f"the data give {len(self)} {kind}, fewer than a batch of "
            f"{self._batch}: add pairs, or use {cures}."
        )


class _Place(NamedTuple):
    """A crop of an epoch."""

    pair: int
    corner: Corner | None
    """None at random places."""


class _Draw(NamedTuple):
    """What is random about a crop."""

    corner: Corner
    tries: int
    flipped: list[int]
    jitters: list[tuple[float, ...]]
    darker: list[float]
    veil: NDArray[np.float64] | None
    cameras: list[int]
    """Seeds, one for each image; none leaves them as they are."""


def grid_count(pair: Size, size: int, stride: int) -> int:
    """Crops of a pair on the grid."""
    height, width = pair
    return _steps(height, size, stride) * _steps(width, size, stride)


def grid_contrast(
    pair: ImagePair, size: int, stride: int, min_contrast: float
) -> NDArray[np.bool_]:
    """Whether each crop of a pair on the grid has contrast, row by row."""
    rows, columns = (range(0, side - size + 1, stride) for side in pair.first.shape[-2:])
    crops = (_cut(pair, (top, left), (size, size)) for top in rows for left in columns)
    return np.array([with_contrast(crop, min_contrast) for crop in crops], dtype=bool)


def with_contrast(crop: ImagePair, least: float) -> bool:
    """Whether both images of a crop have at least that contrast."""
    return not least or all(contrast(image) >= least for image in (crop.first, crop.second))


def contrast(image: Tensor) -> float:
    """(p90 - p10) / p90 of the grey levels; 0 for a black image."""
    low, high = np.percentile(image.numpy(), (10, 90))
    return float((high - low) / high) if high > 0 else 0.0


def _steps(side: int, size: int, stride: int) -> int:
    """Places of a crop along one side."""
    return len(range(0, side - size + 1, stride))


def _size(pairs: Sequence[ImagePair], index: int) -> Size:
    if isinstance(pairs, OnDisk):
        return pairs.size(index)
    height, width = pairs[index].first.shape[-2:]
    return height, width


def _cut(pair: ImagePair, corner: Corner, size: Size) -> ImagePair:
    (top, left), (height, width) = corner, size
    window = (..., slice(top, top + height), slice(left, left + width))
    return ImagePair(pair.first[window], pair.second[window], pair.name)
