"""The metrics as one `torchmetrics.Metric`, for training and test loops built on torchmetrics.

Needs the extra `metrics`: `pip install cddfuse[metrics]`.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torchmetrics import Metric as Stateful
from torchmetrics.utilities import dim_zero_cat

from cddfuse.metrics.base import Metric, levels
from cddfuse.metrics.profiles import PAPER_EIGHT, chosen


class FusionScores(Stateful):
    """Several metrics of one profile, accumulated over batches.

    `compute` gives the mean over the images for which a metric is defined, and how many are left
    out; `per_image` gives the value of each image.
    """

    full_state_update = False
    values: list[Tensor]

    def __init__(
        self, metrics: Iterable[str | Metric] = PAPER_EIGHT, profile: str = "paper"
    ) -> None:
        super().__init__()
        self.records = chosen(metrics, profile)
        self.profile = profile
        self.add_state("values", default=[], dist_reduce_fx="cat")

    def update(self, fused: Tensor, first: Tensor, second: Tensor) -> None:
        """Score a batch of fused images (B, 1, H, W) in [0, 1] against their sources."""
        images = levels(fused, first, second)
        self.values.append(torch.stack([record.of(images) for record in self.records], dim=1))

    def per_image(self) -> dict[str, Tensor]:
        """The values of all images of this process: (N,) for each name."""
        columns = dim_zero_cat(self.values).unbind(1)
        return {record.name: column for record, column in zip(self.records, columns, strict=True)}

    def compute(self) -> dict[str, Tensor]:
        """Means by name, and under `<name>_undefined` how many images have no value."""
        result = {}
        for name, column in self.per_image().items():
            result[name] = column.nanmean()
            result[f"{name}_undefined"] = column.isnan().sum()
        return result
