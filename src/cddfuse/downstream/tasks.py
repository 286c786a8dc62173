"""Detection and segmentation: what a network learns, what it predicts, how that is scored."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from cddfuse.datasets.labels import IGNORED, Box, ClassMap
from cddfuse.downstream import average_precision, intersection
from cddfuse.downstream.average_precision import Found
from cddfuse.downstream.frames import Frames
from cddfuse.downstream.inputs import Arrays
from cddfuse.downstream.kept import arrays, reading
from cddfuse.downstream.networks import centernet
from cddfuse.io import replacing

Name = Literal["detect", "segment"]
Values = NDArray[np.float64]

_AT_ONCE = 8  # images that are predicted together
_RARE = 1e-3  # keeps the weight of a rare class finite


class Detection:
    """Boxes of objects, by CenterNet."""

    name: ClassVar[Name] = "detect"
    measures: ClassVar[tuple[str, ...]] = ("AP@0.5", "AP@[.5:.95]")

    def __init__(self, frames: Frames) -> None:
        self.frames = frames
        names = frames.labelled.partition.train
        self.count = len(names)
        self._boxes = [frames.boxes(name) for name in names]

    def targets(self, places: Sequence[int], flipped: Sequence[bool]) -> centernet.Targets:
        """Heat maps of the boxes."""
        width = self.frames.canvas[1]
        chosen = [
            [mirrored(box, width) if flip else box for box in self._boxes[place]]
            for place, flip in zip(places, flipped, strict=True)
        ]
        return centernet.targets(chosen, len(self.frames.classes), *self.frames.canvas)

    def loss(self, output: tuple[Tensor, Tensor], wanted: centernet.Targets) -> Tensor:
        """See `centernet.loss`."""
        return centernet.loss(*output, wanted)

    @torch.inference_mode()
    def predict(self, network: nn.Module, images: Arrays, device: Any) -> Found:
        """Boxes of all test images, in their order."""
        columns: list[list[Any]] = [[], [], [], []]
        for start, names, batch in test_batches(self.frames, images, device):
            heat, sizes = network(batch)
            for place, (name, found) in enumerate(
                zip(names, centernet.decode(heat.cpu(), sizes.cpu()), strict=True), start
            ):
                corners = self.frames.original(name, found.corners.double().numpy())
                whole = (corners[:, 2:] > corners[:, :2]).all(1)
                count = int(whole.sum())
                rest = found.classes.numpy(), found.scores.double().numpy(), corners
                for column, values in zip(columns[1:], rest, strict=True):
                    column.append(values[whole])
                columns[0].append(np.full(count, place))
        return Found(*(np.concatenate(column) for column in columns))

    def save(self, path: Path, found: Found) -> None:
        """Keep predictions."""
        with replacing(path) as temporary:
            np.savez_compressed(temporary, **found._asdict())

    def load(self, path: Path) -> Found:
        """What `save` kept."""
        content = arrays(path)
        with reading(path):
            return Found(*(content[name] for name in Found._fields))

    def score(self, found: Found, weights: Values | None = None) -> Mapping[str, Values]:
        """AP of each class by measure: (resamples, classes)."""
        boxes = [self.frames.labelled.boxes[name] for name in self.frames.labelled.partition.test]
        least = self.frames.least_area
        return average_precision.scores(
            found, boxes, self.frames.classes, weights, least_area=least
        )


def mirrored(box: Box, width: int) -> Box:
    """The box in the mirrored image."""
    left, top, right, bottom = box.corners
    return box._replace(corners=(width - right, top, width - left, bottom))


@dataclass(frozen=True)
class Segmented:
    """Class maps of all test images."""

    maps: Sequence[ClassMap]
    matrices: intersection.Counts
    """(images, N, N) confusion."""


class Segmentation:
    """The class of each pixel."""

    name: ClassVar[Name] = "segment"
    measures: ClassVar[tuple[str, ...]] = ("IoU",)

    def __init__(self, frames: Frames) -> None:
        self.frames = frames
        names = frames.labelled.partition.train
        self.count = len(names)
        self._maps = [frames.class_map(name) for name in names]
        self._weights = _class_weights(self._maps, len(frames.classes))

    def targets(self, places: Sequence[int], flipped: Sequence[bool]) -> Tensor:
        """(B, H, W)."""
        chosen = [
            self._maps[place][:, ::-1] if flip else self._maps[place]
            for place, flip in zip(places, flipped, strict=True)
        ]
        return torch.from_numpy(np.stack(chosen)).long()

    def loss(self, output: Tensor, wanted: Tensor) -> Tensor:
        """Cross entropy at half the size, rare classes weighing more."""
        half = wanted[:, 1::2, 1::2]
        logits = F.interpolate(output, half.shape[-2:], mode="bilinear", align_corners=False)
        weights = self._weights.to(output)
        return F.cross_entropy(logits, half, weights, ignore_index=IGNORED)

    @torch.inference_mode()
    def predict(self, network: nn.Module, images: Arrays, device: Any) -> Segmented:
        """Class maps of all test images, in their order."""
        maps = [
            self.frames.enlarged(name, logits)
            for _, names, batch in test_batches(self.frames, images, device)
            for name, logits in zip(names, network(batch), strict=True)
        ]
        return self.compared(maps)

    def compared(self, maps: Sequence[ClassMap]) -> Segmented:
        """Class maps with their confusion."""
        names, count = self.frames.labelled.partition.test, len(self.frames.classes)
        pairs = zip(names, maps, strict=True)
        matrices = [intersection.confusion(self.frames.labels(n), m, count) for n, m in pairs]
        return Segmented(maps, np.stack(matrices))

    def save(self, path: Path, found: Segmented) -> None:
        """Keep predictions."""
        maps = {f"map_{place}": values for place, values in enumerate(found.maps)}
        with replacing(path) as temporary:
            np.savez_compressed(temporary, matrices=found.matrices, **maps)  # type: ignore[arg-type]

    def load(self, path: Path) -> Segmented:
        """What `save` kept."""
        content = arrays(path)
        with reading(path):
            matrices = content["matrices"]
            return Segmented([content[f"map_{n}"] for n in range(len(matrices))], matrices)

    def score(self, found: Segmented, weights: Values | None = None) -> Mapping[str, Values]:
        """IoU of each class: (resamples, classes)."""
        return {"IoU": intersection.resampled(found.matrices, weights)}


def _class_weights(maps: Sequence[ClassMap], classes: int) -> Tensor:
    """One over the root of the share of each class; the mean is 1."""
    counts = sum(np.bincount(each.ravel(), minlength=IGNORED + 1)[:classes] for each in maps)
    shares = torch.from_numpy(np.asarray(counts, np.float64)).float()
    weights = (shares / shares.sum() + _RARE).rsqrt()
    return weights / weights.mean()


TASKS: Mapping[Name, type[Detection] | type[Segmentation]] = {
    "detect": Detection,
    "segment": Segmentation,
}


def test_batches(
    frames: Frames, images: Arrays, device: Any
) -> Iterator[tuple[int, tuple[str, ...], Tensor]]:
    """Place of the first, names and images of batches of the test part."""
    names = frames.labelled.partition.test
    places = frames.places(names)
    for start in range(0, len(names), _AT_ONCE):
        chosen = np.stack([images[place] for place in places[start : start + _AT_ONCE]])
        batch = torch.from_numpy(chosen).to(device).float() / 255
        yield start, names[start : start + _AT_ONCE], batch
