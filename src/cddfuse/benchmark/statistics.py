"""Statistics over images: intervals, paired tests against one method, ranks of all.

Sources: Demsar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 2006
(Friedman test, critical difference); Holm, Scandinavian Journal of Statistics, 1979.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from cddfuse.evaluate import Summary
from cddfuse.evaluate.scores import summarise

ALPHA = 0.05
"""Level of the tests."""

_RESAMPLES = 2000
_ALIKE = 1e-9  # relative; less is rounding

Values = NDArray[np.float64]


def summary(values: Sequence[float], scenes: Sequence[str]) -> Summary:
    """Mean, deviation and 95 % interval of the values that are not NaN.

    Args:
        values: of the images.
        scenes: of the images. Images of one scene, clip or patient are not independent, so the
            bootstrap draws scenes, with all of their images.
    """
    whole = summarise(list(values))
    kept = [(value, scene) for value, scene in zip(values, scenes, strict=True) if value == value]
    names = sorted({scene for _, scene in kept})
    if len(names) == len(kept):
        return whole
    if len(names) < 2:
        return Summary(whole.mean, whole.deviation, math.nan, math.nan, whole.undefined)
    groups = [np.array([value for value, of in kept if of == name]) for name in names]
    sums, counts = (np.array([f(g) for g in groups], np.float64) for f in (np.sum, len))
    drawn = np.random.default_rng(0).integers(len(groups), size=(_RESAMPLES, len(groups)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, (0.025, 0.975)).tolist()
    return Summary(whole.mean, whole.deviation, low, high, whole.undefined)


@dataclass(frozen=True)
class Paired:
    """A method against the reference, over the images for which both are defined."""

    images: int
    difference: float
    """Mean of method less reference; NaN without images."""

    p: float
    """Two-sided Wilcoxon signed-rank test; NaN if it cannot be made."""

    identical: bool
    """Whether all values are equal: there is nothing to test."""

    adjusted: float = math.nan
    """By Holm's correction over all tests of a table."""


def paired(method: Sequence[float], reference: Sequence[float]) -> Paired:
    """Compare two methods on the same images; `adjusted` is left open."""
    one, other = np.array(method, np.float64), np.array(reference, np.float64)
    both = np.isfinite(one) & np.isfinite(other)
    if not both.any():
        return Paired(0, math.nan, math.nan, False)
    difference = one[both] - other[both]
    scale = np.abs(np.concatenate([one[both], other[both]])).max()
    difference[np.abs(difference) <= _ALIKE * scale] = 0
    count, mean = int(both.sum()), float(difference.mean())
    if not difference.any():
        return Paired(count, 0.0, math.nan, True)
    if count < 2:
        return Paired(count, mean, math.nan, False)
    return Paired(count, mean, float(stats.wilcoxon(difference).pvalue), False)


def holm(values: Sequence[float]) -> list[float]:
    """Adjusted p-values; NaN stays and does not count."""
    order = sorted((i for i, p in enumerate(values) if p == p), key=lambda i: values[i])
    adjusted, largest = [math.nan] * len(values), 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - place) * values[index]))
        adjusted[index] = largest
    return adjusted


@dataclass(frozen=True)
class Ranks:
    """Ranks of methods over the images for which all are defined; 1 is best."""

    images: int
    mean: Mapping[str, float]
    """Mean rank by method; methods with equal values share a rank."""

    p: float
    """Friedman test that all methods are alike; NaN with less than 3 methods or 2 images, or if
    all values are equal."""

    critical: float
    """Mean ranks that differ by less are not told apart (Nemenyi, 5 %); NaN like `p`."""

    left_out: tuple[str, ...]
    """Methods that are undefined for more than half of the images, as SCD is for the sources."""


def rank(values: Mapping[str, Sequence[float]], better: str) -> Ranks:
    """Rank methods on each image."""
    table = {name: np.array(column, np.float64) for name, column in values.items()}
    sparse = tuple(name for name, x in table.items() if np.isnan(x).mean() > 0.5)
    names = [name for name in table if name not in sparse]
    if not names:
        return Ranks(0, {}, math.nan, math.nan, sparse)
    every = np.stack([table[name] for name in names], axis=1)
    every = every[~np.isnan(every).any(1)]
    if not every.size:
        return Ranks(0, {}, math.nan, math.nan, sparse)
    signed = -every if better == "higher" else every
    ranks = stats.rankdata(_rounded(signed), axis=1)
    means = dict(zip(names, ranks.mean(0).tolist(), strict=True))
    count, methods = every.shape
    if methods < 3 or count < 2 or np.ptp(ranks, axis=1).max() == 0:
        return Ranks(count, means, math.nan, math.nan, sparse)
    p = float(stats.friedmanchisquare(*ranks.T).pvalue)
    return Ranks(count, means, p, critical_difference(methods, count), sparse)


def _rounded(values: Values) -> Values:
    """Without differences that are rounding errors, which would break ties at random."""
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.where(values == 0, 0, np.floor(np.log10(np.abs(values))))
    scale = 10.0 ** (9 - np.where(np.isfinite(size), size, 0))
    return np.where(np.isfinite(values), np.round(values * scale) / scale, values)


def critical_difference(methods: int, images: int, level: float = 0.05) -> float:
    """Least difference of mean ranks that the Nemenyi test tells apart."""
    q = float(stats.studentized_range.ppf(1 - level, methods, np.inf)) / math.sqrt(2)
    return q * math.sqrt(methods * (methods + 1) / (6 * images))


def cliques(ranks: Mapping[str, float], critical: float) -> list[tuple[float, float]]:
    """Spans of mean ranks within which no two methods are told apart, the widest only."""
    ordered = sorted(ranks.values())
    spans: list[tuple[float, float]] = []
    for low in ordered:
        high = max(value for value in ordered if value - low < critical)
        if high > low and not any(a <= low and high <= b for a, b in spans):
            spans.append((low, high))
    return spans
