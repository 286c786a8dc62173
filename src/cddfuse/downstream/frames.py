"""Images of a data set at one size, and their labels there: what instruments are trained on.

Images are scaled to fit a side, never enlarged, and padded below and at the right to one canvas
whose sides divide by 16. Scores are computed at the size of the labels.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from cddfuse.datasets.labelled import LabelledSet
from cddfuse.datasets.labels import IGNORED, Box, ClassMap, Size, read_class_map

MULTIPLE = 16

Levels = NDArray[np.uint8]
"""(C, H, W)"""


@dataclass(frozen=True)
class Frames:
    """The geometry of a data set."""

    labelled: LabelledSet
    side: int
    """Longer side of an image, in pixels."""

    least_area: float = 0
    """Objects of fewer pixels of the original image are neither learned nor scored."""

    @property
    def names(self) -> tuple[str, ...]:
        """All images: those to train on first, those to test on last."""
        parts = self.labelled.partition
        return (*parts.train, *parts.val, *parts.test)

    @property
    def classes(self) -> tuple[str, ...]:
        """That are learned."""
        return self.labelled.classes.kept

    @cached_property
    def canvas(self) -> Size:
        """Height and width of all arrays."""
        scaled = [self.scaled(name) for name in self.names]
        height, width = (max(sides) for sides in zip(*scaled, strict=True))
        return -(-height // MULTIPLE) * MULTIPLE, -(-width // MULTIPLE) * MULTIPLE

    def scaled(self, name: str) -> Size:
        """Size of an image on the canvas."""
        height, width = self.labelled.sizes[name]
        share = min(1.0, self.side / max(height, width))
        return max(1, round(height * share)), max(1, round(width * share))

    def fitted(self, name: str, image: Tensor) -> Levels:
        """An image (C, H, W) in [0, 1] on the canvas, as 8-bit levels."""
        height, width = self.scaled(name)
        array = image.permute(1, 2, 0).numpy()
        if array.shape[:2] != (height, width):
            array = cv2.resize(array, (width, height), interpolation=cv2.INTER_AREA)
        array = array.reshape(height, width, -1)
        out = np.zeros((array.shape[2], *self.canvas), np.uint8)
        out[:, :height, :width] = np.rint(array.transpose(2, 0, 1).clip(0, 1) * 255)
        return out

    def boxes(self, name: str) -> list[Box]:
        """Objects on the canvas; those too small are ignored ones."""
        across, down = self._factors(name)
        found = []
        for box in self.labelled.boxes[name]:
            left, top, right, bottom = box.corners
            corners = (left * across, top * down, right * across, bottom * down)
            found.append(Box(box.label, corners, box.ignored or box.area < self.least_area))
        return found

    def original(self, name: str, corners: NDArray[np.float64]) -> NDArray[np.float64]:
        """Corners (n, 4) on the canvas as those of the image, inside of it."""
        height, width = self.labelled.sizes[name]
        across, down = self._factors(name)
        whole = corners / (across, down, across, down)
        return whole.clip(0, (width, height, width, height))

    def _factors(self, name: str) -> tuple[float, float]:
        (height, width), (rows, columns) = self.labelled.sizes[name], self.scaled(name)
        return columns / width, rows / height

    def class_map(self, name: str) -> ClassMap:
        """Classes on the canvas; the padding is ignored."""
        height, width = self.scaled(name)
        values = self.labels(name)
        if values.shape != (height, width):
            smaller = cv2.resize(values, (width, height), interpolation=cv2.INTER_NEAREST)
            values = smaller.astype(np.uint8, copy=False)
        out = np.full(self.canvas, IGNORED, np.uint8)
        out[:height, :width] = values
        return out

    def labels(self, name: str) -> ClassMap:
        """Classes of the image."""
        found = self.labelled
        return read_class_map(found.maps[name], found.sizes[name], found.classes)

    def enlarged(self, name: str, logits: Tensor) -> ClassMap:
        """The class of each pixel of the image from logits (N, h, w) of the canvas."""
        rows, columns = self.scaled(name)
        whole = F.interpolate(logits[None], self.canvas, mode="bilinear", align_corners=False)
        size = self.labelled.sizes[name]
        image = F.interpolate(
            whole[..., :rows, :columns], size, mode="bilinear", align_corners=False
        )
        return image[0].argmax(0).to(torch.uint8).cpu().numpy()

    def places(self, names: Iterable[str]) -> list[int]:
        """Places of images among all."""
        known = {name: place for place, name in enumerate(self.names)}
        return [known[name] for name in names]

    def scenes(self, names: Sequence[str]) -> list[str]:
        """Of images."""
        return [self.labelled.scenes[name] for name in names]
