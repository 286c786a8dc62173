"""Automatic gain control: more contrast for thermal images after their range is fixed.

*Plateau equalisation* is what thermal cameras do: the histogram is limited to a plateau, so that
large flat areas such as a sky do not take all grey levels, and its cumulated counts are the new
levels. What the limit cuts off is spread evenly, which is the linear share of the manuals (FLIR Tau
2, "Electrical interface", and Boson, section on AGC) and keeps scenes with few levels from being
torn apart; the plateau limits the gain. The curve is monotone and the same for a whole folder or
clip, so that one value stays one grey.

*CLAHE* (Zuiderveld 1994) equalises tiles of each image, with the limit doing the same. It shows
more of the detail and gives up that one value is one grey, even within an image.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Kind = Literal["none", "plateau", "clahe"]

_BINS = 1024
_GAIN = 4.0  # of the plateau: the steepest slope that the histogram gives the curve
_KNOTS = 64  # of the stored curve, which then fits in a line
_CLIP, _TILES = 2.0, (8, 8)  # of CLAHE: the common values of OpenCV's examples


@dataclass(frozen=True)
class Agc:
    """How images in [0, 1] are changed."""

    kind: Kind = "none"

    curve: tuple[float, ...] = ()
    """For `plateau`: the levels that evenly spaced ones from 0 to 1 become. Without it each image
    gets its own."""

    @property
    def resolved(self) -> bool:
        """Whether all images are treated alike already, or as far as the kind allows."""
        return self.kind != "plateau" or bool(self.curve)

    def apply(self, image: Tensor) -> Tensor:
        """An image (C, H, W) in [0, 1] with its new levels."""
        if self.kind == "none":
            return image
        if self.kind == "clahe":
            return torch.stack([_clahe(channel) for channel in image])
        curve = self.curve or plateau(histogram(image))
        places = np.linspace(0, 1, len(curve))
        levels = np.interp(image.double().numpy(), places, curve)
        return torch.from_numpy(levels).float()


def histogram(image: Tensor) -> NDArray[np.int64]:
    """Counts of the levels of an image in [0, 1]."""
    bins = (image.double().flatten() * _BINS).long().clamp(0, _BINS - 1)
    return torch.bincount(bins, minlength=_BINS).numpy()


def plateau(counts: NDArray[np.int64]) -> tuple[float, ...]:
    """The curve of plateau equalisation, from 0 to 1.

    What lies at the very ends was clipped by the range, and would lift all levels: it counts no
    more than the mean.
    """
    share = counts / max(1, counts.sum())
    share[[0, -1]] = np.minimum(share[[0, -1]], 1 / _BINS)
    limited = np.minimum(share, _GAIN / _BINS)
    limited += (1 - limited.sum()) / _BINS
    levels = np.concatenate([[0.0], limited.cumsum()])
    knots = np.interp(np.linspace(0, 1, _KNOTS + 1), np.linspace(0, 1, _BINS + 1), levels)
    return tuple(round(float(level), 4) for level in knots)


def _clahe(channel: Tensor) -> Tensor:
    import cv2

    levels = (channel.double() * 65535).round().numpy().astype(np.uint16)
    spread = cv2.createCLAHE(_CLIP, _TILES).apply(levels)
    return torch.from_numpy(spread.astype(np.float32) / 65535)
