"""Sum of the correlations of differences (SCD): of each source with the fused image less the other.

Range: [-2, 2]. Higher is better. NaN where a source is constant or equal to the fused image.
Source: Aslantas and Bendes, "A new image quality metric for image fusion", 2015.
"""

from torch import Tensor

from cddfuse.metrics.base import Metric
from cddfuse.metrics.moments import scatter


def correlations_of_differences(fused: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """r(D1, S1) + r(D2, S2) with D1 = F - S2 and D2 = F - S1: (B,)."""
    s = scatter(fused, first, second)
    return _r(s, 1, 2) + _r(s, 2, 1)


def _r(s: Tensor, source: int, other: int) -> Tensor:
    """Correlation of a source with D, the fused image (number 0) less the other source."""
    covariance = s[..., 0, source] - s[..., other, source]
    d = s[..., 0, 0] - 2 * s[..., 0, other] + s[..., other, other]
    return covariance / (d * s[..., source, source]).sqrt()


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
    latex=r"r(F-B,A)+r(F-A,B)",
)
