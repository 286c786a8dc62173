"""Intervals of scores over seeds and over images, which are two different questions.

Seeds: would the same images give this again, trained anew? Student's t over seeds. Images: would
other images of the kind give this, with these networks? Percentile bootstrap of the mean over
seeds, over scenes where several images are of one. Neither contains the other.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

RESAMPLES = 1000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """95 %; NaN where it cannot be computed."""

    low: float = math.nan
    high: float = math.nan

    @property
    def known(self) -> bool:
        """Whether it could be computed."""
        return not math.isnan(self.low)


@dataclass(frozen=True)
class Estimate:
    """A score, or a difference of scores, over seeds."""

    mean: float
    """Over seeds."""

    deviation: float
    """Of the seeds; NaN for one."""

    seeds: Interval
    images: Interval

    @property
    def positive(self) -> bool:
        """Whether both intervals are above 0, or the one that there is."""
        known = [interval for interval in (self.seeds, self.images) if interval.known]
        return bool(known) and all(interval.low > 0 for interval in known)


def image_weights(scenes: Sequence[str], resamples: int = RESAMPLES) -> Values:
    """How often each image is in each bootstrap resample: (resamples, images).

    One scene has no resamples, for it says nothing of others.

    Args:
        scenes: of the images; scenes are drawn with all of their images.
        resamples: how many. The seed is fixed, so that differences are paired.
    """
    names = sorted(set(scenes))
    if len(names) == 1:
        resamples = 0
    place = np.array([names.index(scene) for scene in scenes])
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    return drawn[:, place].astype(np.float64)


def estimate(values: Values, resampled: Values) -> Estimate:
    """Mean and intervals of a score.

    Args:
        values: (seeds,).
        resampled: (seeds, resamples).
    """
    count = len(values)
    mean = float(values.mean())
    deviation = float(values.std(ddof=1)) if count > 1 else math.nan
    seeds = Interval()
    if count > 1 and math.isfinite(deviation):
        half = _student(count - 1) * deviation / math.sqrt(count)
        seeds = Interval(mean - half, mean + half)
    means = resampled.mean(0)
    means = means[np.isfinite(means)]
    images = Interval()
    if len(means) > 1:
        tail = (1 - LEVEL) / 2
        images = Interval(*np.quantile(means, (tail, 1 - tail)).tolist())
    return Estimate(mean, deviation, seeds, images)


def _student(degrees: int) -> float:
    from scipy import stats

    return float(stats.t.ppf((1 + LEVEL) / 2, degrees))


@dataclass(frozen=True)
class Scored:
    """One measure of one row: class by class and their mean."""

    values: Values
    """(seeds, classes)"""

    resampled: Values
    """(seeds, resamples, classes)"""

    def of(self, index: int | None) -> tuple[Values, Values]:
        """Values (seeds,) and (seeds, resamples) of a class; None is the mean over classes."""
        if index is not None:
            return self.values[:, index], self.resampled[..., index]
        return _mean(self.values), _mean(self.resampled)

    def estimate(self, index: int | None = None) -> Estimate:
        """Of a class, or of the mean over classes."""
        return estimate(*self.of(index))

    def less(self, other: "Scored", index: int | None = None) -> Estimate:
        """The difference to another row, seed by seed and resample by resample."""
        mine, theirs = self.of(index), other.of(index)
        return estimate(mine[0] - theirs[0], mine[1] - theirs[1])


def _mean(values: Values) -> Values:
    """Over the classes that are defined, of which there may be none in a resample."""
    defined = np.isfinite(values)
    total = np.where(defined, values, 0).sum(-1)
    count = defined.sum(-1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def better_source(rows: Mapping[str, Scored], index: int | None = None) -> str | None:
    """The single source (`vi` or `ir`) with the higher mean; None unless both are there."""
    if not {"vi", "ir"} <= set(rows):
        return None
    found = {name: rows[name].estimate(index).mean for name in ("vi", "ir")}
    known = {name: mean for name, mean in found.items() if not math.isnan(mean)}
    return max(known, key=lambda name: known[name]) if known else None
