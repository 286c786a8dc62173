"""What an evaluation found, and its statistics over the images."""

import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from cddfuse.io import Skipped
from cddfuse.metrics import PROFILES, Metric

TRIVIAL = ("first", "second", "mean", "max")
"""What every method has to beat: the sources as they are, their mean and their maximum."""

_RESAMPLES = 2000

Values = dict[str, list[float]]
"""Per image, in order, by name of the metric; NaN where a metric is undefined."""


@dataclass(frozen=True)
class Summary:
    """One metric over the images where it is defined."""

    mean: float
    """Plain mean; NaN if the metric is defined nowhere."""

    deviation: float
    """Standard deviation of the images (n - 1); NaN below two of them."""

    low: float
    """With `high`, the 95 % interval of the mean by bootstrap; NaN below two images."""

    high: float

    undefined: int
    """Number of images that the mean leaves out."""


def summarise(values: list[float]) -> Summary:
    """Statistics of the values that are not NaN. The same values give the same interval."""
    every = np.array(values, np.float64)
    kept = every[~np.isnan(every)]
    undefined = len(every) - len(kept)
    if len(kept) == 0:
        return Summary(math.nan, math.nan, math.nan, math.nan, undefined)
    with np.errstate(invalid="ignore"):  # infinite values have no deviation
        mean = float(kept.mean())
        if len(kept) == 1:
            return Summary(mean, math.nan, math.nan, math.nan, undefined)
        low, high = np.quantile(_resampled_means(kept), (0.025, 0.975)).tolist()
        return Summary(mean, float(kept.std(ddof=1)), low, high, undefined)


def _resampled_means(values: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(0)
    rows = max(1, 10**6 // len(values))  # at a time, to bound memory
    counts = [min(rows, _RESAMPLES - done) for done in range(0, _RESAMPLES, rows)]
    return np.concatenate(
        [values[rng.integers(len(values), size=(count, len(values)))].mean(1) for count in counts]
    )


@dataclass
class Scores:
    """Scores of one method on many pairs, beside those of the trivial methods."""

    method: str
    """What was scored: a network, or a folder."""

    profile: str
    metrics: list[Metric]

    images: list[str] = field(default_factory=list)
    """Names of the pairs that were scored, in their order."""

    tables: dict[str, dict[str, Values]] = field(default_factory=dict)
    """Table, row, metric. Tables: "stretched" and "plain" of a network, "saved" of a folder. Rows:
    "fused" and the `TRIVIAL` ones, in the same form (of "stretched", each is stretched)."""

    failed: dict[str, str] = field(default_factory=dict)
    """Reason by name of the pair."""

    missing: list[str] = field(default_factory=list)
    """Pairs that the folder has no result of."""

    unmatched: list[Path] = field(default_factory=list)
    """Images without a partner: the result of no pair, or one side of a pair alone."""

    skipped: list[Skipped] = field(default_factory=list)
    """What looks like an image, or holds some, and was not considered."""

    @property
    def compares(self) -> str:
        """With which tables these numbers may be compared."""
        return PROFILES[self.profile].compares

    @property
    def values(self) -> Values:
        """The method's own, of the first table: the published protocol, or the files as saved."""
        return next(iter(self.tables.values()))["fused"]

    @cached_property
    def summaries(self) -> dict[str, dict[str, dict[str, Summary]]]:
        """Table, row, metric; worked out once, when first asked for."""
        return {
            table: {
                row: {name: summarise(column) for name, column in values.items()}
                for row, values in rows.items()
            }
            for table, rows in self.tables.items()
        }

    def beats(self, table: str, row: str, metric: Metric) -> bool:
        """Whether a trivial row has a better mean than the method, where both are defined."""
        values = self.tables[table]
        fused, other = (np.array(values[name][metric.name]) for name in ("fused", row))
        both = ~(np.isnan(fused) | np.isnan(other))
        if not both.any():
            return False
        with np.errstate(invalid="ignore"):  # infinite means, such as PSNR of copies, have no lead
            mine, theirs = fused[both].mean(), other[both].mean()
            lead = theirs - mine if metric.better == "higher" else mine - theirs
        return bool(lead > 1e-9 * abs(mine))  # less is rounding
