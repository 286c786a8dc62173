"""Standard deviation (SD): the contrast of the fused image.

Unit: grey levels. Range: [0, 127.5]. Higher is better.
Source: Rao, "In-fibre Bragg grating sensors", 1997, as fusion papers cite it.
"""

from dataclasses import replace

from torch import Tensor

from cddfuse.metrics.base import Metric
from cddfuse.metrics.moments import scatter

_IMAGE = (-3, -2, -1)


def standard_deviation(image: Tensor) -> Tensor:
    """Population standard deviation, over H W, of images (..., B, 1, H, W): (..., B)."""
    return (scatter(image)[..., 0, 0] / (image.shape[-2] * image.shape[-1])).sqrt()


def _saturated(image: Tensor) -> Tensor:
    # In uint8 the mean is rounded half up, and differences and squares saturate at 0 and 255.
    image = image.double()
    mu = (image.mean(_IMAGE, keepdim=True) + 0.5).floor()
    return (image - mu).clamp(min=0).square().clamp(max=255).mean(_IMAGE).sqrt()


SD = Metric(
    "SD",
    "Standard deviation",
    standard_deviation,
    over="fused",
    combine=None,
    unit="grey levels",
    range=(0, 127.5),
    better="higher",
    source="Rao, Meas. Sci. Technol. 8, 355 (1997)",
    latex=r"\sqrt{\frac{1}{HW}\sum_{i,j}(F_{ij}-\bar F)^2}",
)

SD_SATURATED = replace(
    SD,
    formula=_saturated,
    range=(0, 16),
    note="Computed in saturating uint8 arithmetic: 8 to 10 where the definition gives 20 to 60.",
)
