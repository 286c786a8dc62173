"""A folder, or two, as a list of pairs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from cddfuse import colour
from cddfuse.io import pair_folders, read_pair
from cddfuse.io.folders import PairedPaths
from cddfuse.pair import ImagePair

_LEVELS = 65535  # 8-bit levels are whole 16-bit levels (times 257), so nothing is lost


class PairFolder(Sequence[ImagePair]):
    """The pairs of two folders (or of one that holds both), as grey images (1, H, W).

    Images are read when first asked for and kept in memory as 16-bit levels: a training run sees
    each of them hundreds of times.
    """

    def __init__(self, paths: Sequence[PairedPaths]) -> None:
        self.paths = paths
        self._kept: dict[int, np.ndarray] = {}

    @classmethod
    def of(cls, first: Path, second: Path | None = None) -> "PairFolder":
        """All pairs of two folders, or of one."""
        return cls(pair_folders(first, second).pairs)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> ImagePair:  # type: ignore[override]
        if index not in self._kept:
            name, first, second = self.paths[index]
            pair = read_pair(first, second, name=name)
            grey = torch.cat([colour.luma(pair.first), colour.luma(pair.second)])
            self._kept[index] = (grey * _LEVELS).round().numpy().astype(np.uint16)
        grey = torch.from_numpy(self._kept[index].astype(np.float32)) / _LEVELS
        return ImagePair(grey[:1], grey[1:], self.paths[index].name)
