"""Sum of the correlations of differences (SCD): what one source adds must look like that source.

Range: [-2, 2]. Higher is better. NaN where a source is flat or the fused image equals one.
Source: Aslantas and Bendes, "A new image quality metric for image fusion", 2015.
"""

from torch import Tensor

from cddfuse.metrics.base import Metric
from cddfuse.metrics.correlation import correlation


def correlations_of_differences(fused: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Correlation of each source with what the other lacks of the fused image: (B,)."""
    return correlation(fused - second, first) + correlation(fused - first, second)


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
