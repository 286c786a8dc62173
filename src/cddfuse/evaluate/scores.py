"""Scores of all images, and their statistics."""

import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from cddfuse.errors import InputError
from cddfuse.evaluate.sources import Fit
from cddfuse.io import Skipped
from cddfuse.metrics import PROFILES, Metric

BASELINES = ("first", "second", "mean", "max")
"""The sources as they are, their mean and their maximum: what every method has to beat."""

_RESAMPLES = 2000

Values = dict[str, list[float]]
"""Per image, in order, by name of the metric; NaN where a metric is undefined."""


@dataclass(frozen=True)
class Summary:
    """One metric over the images where it is defined."""

    mean: float
    """NaN if the metric is defined for no image."""

    deviation: float
    """Standard deviation over the images (n - 1); NaN below two of them."""

    low: float
    """Lower end of the 95 % confidence interval of the mean, by bootstrap; NaN below two images."""

    high: float
    """Its upper end."""

    undefined: int
    """Number of images that the mean leaves out."""


class Facts(NamedTuple):
    """What is to be known of one fused image beside its scores."""

    height: int
    width: int
    blank: Literal["black", "flat"] | None
    """If it has no level above 1, or one level, although the sources have more."""

    fit: Fit | None
    """What was done because its size was not that of the sources."""


class PairScores(NamedTuple):
    """Scores of one pair."""

    tables: dict[str, dict[str, dict[str, float]]]
    """Table, row, metric, as in `Scores.tables`."""

    facts: Facts


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
    """Scores of one method on many pairs, beside those of the baselines."""

    method: str
    """What was scored: a network, a folder or a file."""

    profile: str
    metrics: list[Metric]

    images: list[str] = field(default_factory=list)
    """Names of the pairs that were scored, in their order."""

    tables: dict[str, dict[str, Values]] = field(default_factory=dict)
    """Table, row, metric.

    Tables are "stretched" and "plain" for a network, "saved" for files. Rows are "fused" and the
    `BASELINES`, treated alike: in "stretched", each of them is stretched.
    """

    facts: list[Facts] = field(default_factory=list)
    """One for each of `images`."""

    failed: dict[str, InputError] = field(default_factory=dict)
    """Reason by name of the pair."""

    missing: list[str] = field(default_factory=list)
    """Pairs without a result in the folder."""

    unmatched: list[Path] = field(default_factory=list)
    """Images in the folder that are the result of no pair."""

    skipped: list[Skipped] = field(default_factory=list)
    """Other files that look like sources or results and were not taken, with the reasons."""

    notes: list[str] = field(default_factory=list)
    """What the source says about how it was read."""

    def add(self, name: str, scores: PairScores) -> None:
        """Append the scores of one pair."""
        self.images.append(name)
        self.facts.append(scores.facts)
        for table, of_rows in scores.tables.items():
            for row, of_metrics in of_rows.items():
                values = self.tables.setdefault(table, {}).setdefault(row, {})
                for metric, value in of_metrics.items():
                    values.setdefault(metric, []).append(value)

    @property
    def compares(self) -> str:
        """The published tables that numbers of this profile are comparable with."""
        return PROFILES[self.profile].compares

    @property
    def own(self) -> list[str]:
        """Names of metrics that are not of the profile."""
        known = PROFILES[self.profile]
        return [metric.name for metric in self.metrics if known.get(metric.name) is not metric]

    @property
    def values(self) -> Values:
        """Those of the fused images in the first table: stretched, or as saved."""
        return next(iter(self.tables.values()))["fused"]

    @cached_property
    def summaries(self) -> dict[str, dict[str, dict[str, Summary]]]:
        """Table, row, metric. Computed once, when first asked for."""
        return {
            table: {
                row: {name: summarise(column) for name, column in values.items()}
                for row, values in rows.items()
            }
            for table, rows in self.tables.items()
        }

    def beats(self, table: str, row: str, metric: Metric) -> bool:
        """Whether a baseline has a better mean than the method, where both are defined."""
        values = self.tables[table]
        fused, other = (np.array(values[name][metric.name]) for name in ("fused", row))
        both = ~(np.isnan(fused) | np.isnan(other))
        if not both.any():
            return False
        with np.errstate(invalid="ignore"):  # infinite means, such as PSNR of copies, have no lead
            mine, theirs = fused[both].mean(), other[both].mean()
            lead = theirs - mine if metric.better == "higher" else mine - theirs
        return bool(lead > 1e-9 * abs(mine))  # less is rounding
