"""Sum of the correlations of differences (SCD): what one source adds must look like that source.

Range: [-2, 2]. Higher is better. NaN where a source is flat or the fused image equals one.
Source: Aslantas and Bendes, "A new image quality metric for image fusion", 2015.
"""

from torch import Tensor

from cddfuse.metrics.base import Metric
from cddfuse.metrics.moments import variations


def correlations_of_differences(fused: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Correlation of each source with what the other lacks of the fused image: (B,)."""
    of = variations(fused, first, second)
    return _correlation(of, 1, 2) + _correlation(of, 2, 1)


def _correlation(of: Tensor, source: int, other: int) -> Tensor:
    """Of a source with the fused image, number 0, less the other source."""
    common = of[..., 0, source] - of[..., other, source]
    rest = of[..., 0, 0] - 2 * of[..., 0, other] + of[..., other, other]
    return common / (rest * of[..., source, source]).sqrt()


SCD = Metric(
    "SCD",
    "Sum of the correlations of differences",
    correlations_of_differences,
    over="both",
    combine=None,
    unit="",
    range=(-2, 2),
    better="higher",
    source="Aslantas and Bendes, AEU 69, 1890 (2015)",
)
