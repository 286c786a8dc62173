import math
from itertools import product

import numpy as np
import pytest

from cddfuse.benchmark.statistics import (
    cliques,
    critical_difference,
    holm,
    paired,
    rank,
    summary,
)
from cddfuse.evaluate.scores import summarise


def test_interval_over_images_is_that_of_evaluate() -> None:
    values = np.random.default_rng(1).normal(size=20).tolist()
    assert summary(values, [str(i) for i in range(20)]) == summarise(values)


def test_interval_is_wider_where_images_share_scenes() -> None:
    level = np.repeat(np.random.default_rng(1).normal(size=5), 10)
    values = (level + 0.01 * np.random.default_rng(2).normal(size=50)).tolist()
    by_scene = summary(values, [str(i // 10) for i in range(50)])
    by_image = summary(values, [str(i) for i in range(50)])
    assert by_scene.mean == by_image.mean
    assert by_scene.high - by_scene.low > 2 * (by_image.high - by_image.low)
    assert math.isnan(summary(values, ["one"] * 50).low)


def test_signed_rank_test_of_a_worked_case() -> None:
    # All six differences are positive: of 2^6 signs, two are as extreme.
    found = paired([2, 4, 6, 8, 10, 12], [1, 2, 3, 4, 5, 6])
    assert found.p == pytest.approx(2 / 2**6)
    assert (found.images, found.difference) == (6, 3.5)


@pytest.mark.parametrize("noise", [0.0, 1e-13])
def test_equal_columns_are_identical_and_not_tested(noise: float) -> None:
    found = paired([0.5, 0.6, 0.7], [0.5 + noise, 0.6, 0.7])
    assert found.identical
    assert math.isnan(found.p)


def test_undefined_images_are_left_out_of_both() -> None:
    found = paired([1, math.nan, 3], [0, 5, math.nan])
    assert (found.images, found.difference) == (1, 1)
    assert paired([math.nan], [1]).images == 0


def test_holm_of_a_worked_case() -> None:
    assert holm([0.01, 0.04, math.nan, 0.03]) == pytest.approx(
        [0.03, 0.06, math.nan, 0.06], nan_ok=True
    )


def test_ranks_and_critical_difference_are_those_of_scikit_posthocs() -> None:
    posthocs = pytest.importorskip("scikit_posthocs")
    offsets = np.array([0, 0.1, 0.5, 0.6, 1.2, 1.3])
    values = np.random.default_rng(0).normal(size=(25, 6)) + offsets
    found = rank({str(i): column for i, column in enumerate(values.T.tolist())}, "lower")
    matrix = posthocs.posthoc_nemenyi_friedman(values).to_numpy()
    means = list(found.mean.values())
    for i, j in product(range(6), range(6)):
        if i != j:
            assert (abs(means[i] - means[j]) > found.critical) == (matrix[i, j] < 0.05)
    assert (matrix[np.triu_indices(6, 1)] < 0.05).any()


def test_critical_difference_of_the_paper() -> None:
    # Demsar 2006, section 3.2.2: four classifiers on fourteen data sets.
    assert critical_difference(4, 14) == pytest.approx(2.569 * math.sqrt(20 / 84), abs=1e-3)


def test_best_has_rank_one_and_ties_share() -> None:
    values = {"a": [3.0, 3.0], "b": [3.0 + 1e-13, 3.0], "c": [1.0, 1.0]}
    assert rank(values, "higher").mean == {"a": 1.5, "b": 1.5, "c": 3}
    assert rank(values, "lower").mean == {"a": 2.5, "b": 2.5, "c": 1}


def test_what_cannot_be_ranked() -> None:
    ties = rank({name: [1.0, 1.0, 1.0] for name in "abc"}, "higher")
    assert math.isnan(ties.p)
    assert set(ties.mean.values()) == {2}
    assert math.isnan(rank({"a": [1.0, 2.0]}, "higher").critical)
    sparse = rank({"a": [1.0, 2.0], "b": [math.nan, math.nan]}, "higher")
    assert sparse.left_out == ("b",)
    assert rank({"a": [math.nan]}, "higher").images == 0


def test_bars_join_the_widest_groups_only() -> None:
    ranks = {"a": 1.0, "b": 1.5, "c": 2.2, "d": 4.0}
    assert cliques(ranks, 1.0) == [(1.0, 1.5), (1.5, 2.2)]
    assert cliques(ranks, 1.3) == [(1.0, 2.2)]
