"""YOLOX-nano of the library `libreyolo` as a detector, where that and torchvision can be imported.

Paper: Ge et al., "YOLOX: Exceeding YOLO Series in 2021", arXiv:2107.08430. Network and loss are
the library's; images, steps and scores are those of the other instruments.
"""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from cddfuse.datasets.labels import Box
from cddfuse.downstream.average_precision import Found
from cddfuse.downstream.inputs import Arrays
from cddfuse.downstream.tasks import Detection as OwnDetection
from cddfuse.downstream.tasks import mirrored, test_batches
from cddfuse.errors import InputError

_MULTIPLE = 32
_LEAST_SCORE, _OVERLAP, _MOST = 0.001, 0.65, 100
_LEVELS = 255  # the library takes images of 0 to 255


class Pending(NamedTuple):
    """A batch on its way: the library computes outputs and loss together."""

    network: nn.Module
    images: Tensor


class Yolox(nn.Module):
    """The network of the library, for images (B, 3, H, W) in [0, 1]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Any:
        """A `Pending` batch while training; else rows (B, n, 5 + classes), see `boxes`."""
        rows, columns = ((-side) % _MULTIPLE for side in image.shape[-2:])
        padded = F.pad(image * _LEVELS, (0, columns, 0, rows), value=114.0)
        return Pending(self.network, padded) if self.training else self.network(padded)


class Detection(OwnDetection):
    """Boxes of objects, by YOLOX."""

    def targets(self, places: Sequence[int], flipped: Sequence[bool]) -> Tensor:  # type: ignore[override]
        """(B, most, 5): class, centre, width and height in pixels; zeros where there is none."""
        width = self.frames.canvas[1]
        chosen = [
            [
                _row(mirrored(box, width) if flip else box)
                for box in self._boxes[place]
                if not box.ignored
            ]
            for place, flip in zip(places, flipped, strict=True)
        ]
        out = torch.zeros(len(chosen), max(1, *map(len, chosen)), 5)
        for place, rows in enumerate(chosen):
            if rows:
                out[place, : len(rows)] = torch.tensor(rows)
        return out

    def loss(self, output: Pending, wanted: Tensor) -> Tensor:  # type: ignore[override]
        """The library's."""
        found = output.network(output.images, wanted)
        loss: Tensor = found["total_loss"]
        return loss

    @torch.inference_mode()
    def predict(self, network: nn.Module, images: Arrays, device: Any) -> Found:
        """Boxes of all test images, in their order."""
        columns: list[list[Any]] = [[], [], [], []]
        for start, names, batch in test_batches(self.frames, images, device):
            for place, (name, rows) in enumerate(
                zip(names, network(batch).cpu(), strict=True), start
            ):
                scores, classes, corners = boxes(rows.double().numpy())
                corners = self.frames.original(name, corners)
                whole = (corners[:, 2:] > corners[:, :2]).all(1)
                columns[0].append(np.full(int(whole.sum()), place))
                for column, values in zip(columns[1:], (classes, scores, corners), strict=True):
                    column.append(values[whole])
        return Found(*(np.concatenate(column) for column in columns))


def _row(box: Box) -> list[float]:
    left, top, right, bottom = box.corners
    return [box.label, (left + right) / 2, (top + bottom) / 2, right - left, bottom - top]


def boxes(
    rows: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Scores, classes and corners of the boxes of an image, after suppression class by class.

    Args:
        rows: (n, 5 + classes): centre, width, height, objectness, chance of each class.
    """
    chance = rows[:, 4:5] * rows[:, 5:]
    centre, half = rows[:, :2], rows[:, 2:4] / 2
    corners = np.concatenate([centre - half, centre + half], 1)
    place, index = np.nonzero(chance > _LEAST_SCORE)
    order = np.argsort(-chance[place, index], kind="stable")
    kept: list[tuple[int, int]] = []
    for row, number in zip(place[order].tolist(), index[order].tolist(), strict=True):
        rivals = corners[[other for other, same in kept if same == number]]
        if not len(rivals) or _overlap(corners[row], rivals).max() <= _OVERLAP:
            kept.append((row, number))
        if len(kept) == _MOST:
            break
    chosen = np.array(kept, np.int64).reshape(-1, 2)
    return chance[chosen[:, 0], chosen[:, 1]], chosen[:, 1], corners[chosen[:, 0]]


def _overlap(one: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = np.maximum(one[:2], others[:, :2]), np.minimum(one[2:], others[:, 2:])
    both = (high - low).clip(0).prod(1)
    area = (one[2:] - one[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(1)
    return both / (area - both)


def require_library() -> Any:
    """The class of the network."""
    try:
        from libreyolo.models.yolox.nn import LibreYOLOXModel
    except Exception as error:  # torchvision fails in many ways when it does not fit torch
        why = " ".join(str(error).split())[:120]
        raise InputError(
            f"yolox needs libreyolo, and a torchvision that fits torch ({why}): install both "
            "(pip install libreyolo torchvision), or use centernet.",
            setting="detector",
        ) from error
    return LibreYOLOXModel


def library_version() -> str:
    """Of libreyolo."""
    try:
        return version("libreyolo")
    except PackageNotFoundError:
        return "unknown"


def build(classes: int, seed: int) -> Yolox:
    """YOLOX-nano with initial weights that depend on the seed alone."""
    made = require_library()
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        network = made("n", classes)
        network.init_weights()
        network.head.export = True  # predictions as one tensor of decoded boxes
        return Yolox(network)
