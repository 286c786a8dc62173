"""A folder, or two, as a list of pairs that are read when needed."""

import math
import mmap
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from cddfuse import colour
from cddfuse.errors import InputError
from cddfuse.io import Ranges, read_pair
from cddfuse.io.folders import PairedPaths
from cddfuse.pair import ImagePair

Found = TypeVar("Found")
Levels = NDArray[np.uint16]
"""A grey pair (2, H, W)."""

_WHITE = 65535  # 8-bit levels are whole 16-bit levels (times 257), so nothing is lost
_THREADS = 2  # that decode; more would wait for the disk, or take cores from training
_ROWS = 64
_LARGE = 2**20  # bytes
_SHARE = 4  # of the memory that is free, the cache takes one part of so many


class Reader:
    """Decodes pairs, and keeps those used last: a training run sees each of them many times.

    Args:
        limit: bytes to keep; None is a quarter of the memory that is free now.
        resize: bring second images to the size of the first; otherwise sizes that differ are an
            error.
        ranges: the value range of each side, the same for all pairs; None is that of `read_image`.
    """

    def __init__(
        self, limit: int | None = None, *, resize: bool = False, ranges: Ranges | None = None
    ) -> None:
        self.limit = psutil.virtual_memory().available // _SHARE if limit is None else limit
        self.resize = resize
        self.ranges = ranges
        self._kept: OrderedDict[PairedPaths, Levels] = OrderedDict()
        self._bytes = 0
        self._coming: dict[PairedPaths, Future[Levels]] = {}
        self._lock = Lock()
        self._threads: ThreadPoolExecutor | None = None

    def levels(self, paths: PairedPaths) -> Levels:
        """A pair as 16-bit levels."""
        with self._lock:
            if paths in self._kept:
                self._kept.move_to_end(paths)
                return self._kept[paths]
            coming = self._coming.pop(paths, None)
        levels = coming.result() if coming else self.decoded(paths)
        self.keep(paths, levels)
        return levels

    def request(self, pairs: Iterable[PairedPaths]) -> None:
        """Start to decode the pairs that will be asked for next, in the background."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_THREADS, "pairs")
        with self._lock:
            coming = {paths: self._coming.get(paths) for paths in pairs if paths not in self._kept}
            self._coming = {
                paths: future or self._threads.submit(self.decoded, paths)
                for paths, future in coming.items()
            }

    def decoded(self, paths: PairedPaths) -> Levels:
        """Read a pair from disk."""
        pair = read_pair(
            paths.first, paths.second, name=paths.name, resize=self.resize, ranges=self.ranges
        )
        levels = _own_memory((2, *pair.first.shape[-2:]))
        for grey, image in zip(levels, (pair.first, pair.second), strict=True):
            for top in range(0, len(grey), _ROWS):  # or copies in colour would be large
                rows = colour.luma(image[:, top : top + _ROWS])[0]
                grey[top : top + _ROWS] = rows.mul(_WHITE).round_().numpy()
        return levels

    def keep(self, paths: PairedPaths, levels: Levels) -> None:
        """Remember a pair, at the cost of those that were not used for longest."""
        with self._lock:
            if paths in self._kept or levels.nbytes > self.limit:
                return
            self._kept[paths] = levels
            self._bytes += levels.nbytes
            while self._bytes > self.limit:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes


class Checked(NamedTuple, Generic[Found]):
    """What came of reading every pair once."""

    paths: list[PairedPaths]
    """The pairs that can be read."""

    found: list[Found]
    """What the caller looked for, of each of them."""

    failures: list[InputError]
    """Why the others cannot."""


class PairFolder(Sequence[ImagePair]):
    """Pairs on disk as grey images (1, H, W), decoded when asked for.

    Args:
        paths: the files.
        reader: decodes them; lists may share one.
        sizes: (height, width) of each pair, where they are known already.
    """

    def __init__(
        self,
        paths: Sequence[PairedPaths],
        reader: Reader | None = None,
        sizes: Sequence[tuple[int, int]] = (),
    ) -> None:
        self.paths = paths
        self._reader = reader or Reader()
        self._sizes = dict(enumerate(sizes))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> ImagePair:  # type: ignore[override]
        paths = self.paths[index]
        return _pair(paths, self._reader.levels(paths))

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of a pair."""
        if index not in self._sizes:
            height, width = self._reader.levels(self.paths[index]).shape[1:]
            self._sizes[index] = (height, width)
        return self._sizes[index]

    def cutter(self, index: int) -> Callable[[tuple[int, int], tuple[int, int]], ImagePair]:
        """Decode a pair; what is given cuts a crop (corner, height and width) out of it."""
        paths = self.paths[index]
        levels = self._reader.levels(paths)

        def cut(corner: tuple[int, int], size: tuple[int, int]) -> ImagePair:
            (top, left), (height, width) = corner, size
            return _pair(paths, levels[:, top : top + height, left : left + width])

        return cut

    def request(self, indices: Iterable[int]) -> None:
        """Start to decode pairs that will be asked for next, in the background."""
        self._reader.request([self.paths[index] for index in indices])

    def checked(
        self,
        look: Callable[[PairedPaths, ImagePair], Found],
        advance: Callable[[], None] = lambda: None,
    ) -> Checked[Found]:
        """Decode every pair once; all of them stay in memory if they fit, or else none.

        Args:
            look: called with every pair, in one of several threads.
            advance: called after every pair.
        """

        def attempt(paths: PairedPaths) -> Found | InputError:
            try:
                levels = self._reader.decoded(paths)
                if levels.nbytes * len(self) <= self._reader.limit:
                    self._reader.keep(paths, levels)
                return look(paths, _pair(paths, levels))
            except InputError as error:
                return error

        good, found, failures = [], [], []
        with ThreadPoolExecutor(_THREADS, "check") as threads:
            for paths, result in zip(self.paths, threads.map(attempt, self.paths), strict=True):
                advance()
                if isinstance(result, InputError):
                    failures.append(result)
                else:
                    good.append(paths)
                    found.append(result)
        return Checked(good, found, failures)


def _own_memory(shape: tuple[int, ...]) -> Levels:
    """An array that, if large, lies outside the heap, so that keeping it does not fragment it."""
    size = 2 * math.prod(shape)
    if size < _LARGE:
        return np.empty(shape, np.uint16)
    return np.frombuffer(mmap.mmap(-1, size), np.uint16).reshape(shape)


def _pair(paths: PairedPaths, levels: Levels) -> ImagePair:
    grey = torch.from_numpy(levels.astype(np.float32)) / _WHITE
    return ImagePair(grey[:1], grey[1:], paths.name)


def held_out(
    paths: Sequence[PairedPaths], share: float, group: int = 0
) -> tuple[list[PairedPaths], list[PairedPaths]]:
    """Split off validation pairs, evenly spread over the names: (train, val).

    Args:
        paths: in order.
        share: of the cases, from 0 to below 1; at least one case if above 0, and never all.
        group: characters at the end of a name that number the images of one case; pairs of a case
            stay together.
    """
    if not 0 <= share < 1:
        raise InputError(
            f"the share of validation pairs is {share}: it must be at least 0 and below 1.",
            setting="val_share",
        )
    if group < 0:
        raise InputError(
            f"the characters that number the images of a case are {group}: give 0 or more.",
            setting="val_group",
        )
    cases = [path.name[: len(path.name) - group] or path.name for path in paths]
    names = list(dict.fromkeys(cases))
    count = min(max(1, round(share * len(names))), len(names) - 1) if share > 0 else 0
    held = {names[(2 * index + 1) * len(names) // (2 * count)] for index in range(count)}
    train = [path for path, case in zip(paths, cases, strict=True) if case not in held]
    return train, [path for path, case in zip(paths, cases, strict=True) if case in held]
