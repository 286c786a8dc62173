"""Correlation over rows of what is known: worked cases and laws."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from cddfuse.downstream.correlation import (
    METRICS,
    as_markdown,
    correlations,
    figure,
    over_rows,
    spearman,
)
from cddfuse.downstream.statistics import image_weights
from cddfuse.errors import InputError

ROWS = ("vi", "ir", "mean", "max", "a", "b")
IMAGES = 20


def made(seed: int = 0) -> tuple[dict[str, dict[str, list[float]]], dict[str, float]]:
    """EN rises with the measure, SD falls, SF is the same everywhere, and TC lacks some images."""
    rng = np.random.default_rng(seed)
    scores = {}
    for place, label in enumerate(ROWS):
        noise = rng.normal(0, 0.01, IMAGES)
        columns = {metric.name: rng.normal(0, 1, IMAGES) for metric in METRICS}
        columns |= {"EN": place + noise, "SD": -place + noise, "SF": np.ones(IMAGES)}
        columns["VIF"] = np.full(IMAGES, np.nan)
        columns["TC"] = np.where(np.arange(IMAGES) < 5, np.nan, place + noise)
        scores[label] = {name: column.tolist() for name, column in columns.items()}
    return scores, {label: place / 10 for place, label in enumerate(ROWS)}


def test_scores_that_rank_as_the_task_does_are_told_from_others() -> None:
    scores, values = made()
    weights = image_weights([str(n) for n in range(IMAGES)], 100)
    drawn = {label: np.full(100, value) for label, value in values.items()}
    found = {each.score: each for each in correlations(scores, drawn, values, weights)}
    assert found["EN"].rho == pytest.approx(1)
    assert found["SD"].rho == pytest.approx(-1)
    assert math.isnan(found["SF"].rho)
    assert found["TC"].rho == pytest.approx(1)
    assert found["EN"].images.low == pytest.approx(1)
    assert found["MI"].images.low < found["MI"].images.high
    assert found["TC"].points["b"] == pytest.approx((5, 0.5), abs=0.1)
    text = as_markdown(list(found.values()), "AP@0.5 of person")
    assert "| EN | +1.00 | +1.00 to +1.00 |" in text
    assert "| SF | - | - | - |" in text
    assert "| VIF | - | - | - |" in text


def test_rank_correlation_is_that_of_scipy() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.integers(0, 5, 9).astype(float), rng.normal(size=9)
    assert spearman(one, other) == pytest.approx(stats.spearmanr(one, other).statistic)


def test_the_interval_over_few_rows_is_wide() -> None:
    few, many = over_rows(0.6, 8), over_rows(0.6, 100)
    assert few.low < 0 < many.low < 0.6 < many.high < few.high < 1
    assert not over_rows(0.6, 3).known
    for rho in (1.0, -1.0):  # four rows have one order of 24 by chance
        perfect, certain = over_rows(rho, 4), over_rows(rho, 30)
        assert perfect.low < 0 < perfect.high
        assert abs(certain.low + certain.high) > 1.9
        assert rho in (perfect.low, perfect.high)


def test_too_few_rows_are_refused() -> None:
    scores, values = made()
    some = {label: scores[label] for label in ROWS[:3]}
    with pytest.raises(InputError, match="3 rows with images are too few"):
        correlations(some, {}, values, np.ones((1, IMAGES)))


def test_a_figure_is_drawn(tmp_path: Path) -> None:
    scores, values = made()
    drawn = {label: np.full(2, value) for label, value in values.items()}
    found = correlations(scores, drawn, values, np.ones((2, IMAGES)))
    figure(found, "AP@0.5 of person, percent", tmp_path / "correlation.png")
    assert (tmp_path / "correlation.png").stat().st_size > 10_000
