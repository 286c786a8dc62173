"""A folder, or two, as a list of pairs."""

from collections.abc import Sequence

import numpy as np
import torch

from cddfuse import colour
from cddfuse.errors import InputError
from cddfuse.io import read_pair
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

    def readable(self) -> tuple["PairFolder", list[str]]:
        """Read everything now. The pairs that can be read, and why the others cannot."""
        failures, good = [], []
        for index in range(len(self)):
            try:
                self[index]
                good.append(index)
            except InputError as error:
                failures.append(str(error))
        folder = PairFolder([self.paths[index] for index in good])
        folder._kept = {new: self._kept[old] for new, old in enumerate(good)}
        return folder, failures

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


def held_out(
    paths: Sequence[PairedPaths], share: float, group: int = 0
) -> tuple[list[PairedPaths], list[PairedPaths]]:
    """Split off a share of the pairs, evenly spread over their names.

    Args:
        paths: in order.
        share: of the cases; at least one case if above 0, and never all.
        group: characters at the end of a name that number the images of one case; pairs of a case
            stay together.
    """
    cases = [path.name[: len(path.name) - group] or path.name for path in paths]
    names = list(dict.fromkeys(cases))
    count = min(max(1, round(share * len(names))), len(names) - 1) if share > 0 else 0
    held = {names[(2 * index + 1) * len(names) // (2 * count)] for index in range(count)}
    learn = [path for path, case in zip(paths, cases, strict=True) if case not in held]
    return learn, [path for path, case in zip(paths, cases, strict=True) if case in held]
