"""Differences of cells against scipy's tests on the same numbers."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.statistics.contrasts import (
    Change,
    Noise,
    Pair,
    average_change,
    average_scores,
    equality_p,
    pool_noise,
    scores_by_seed,
)

QUIET = Noise(0.0, 0)  # a table whose cells have no noise to borrow
BASE, OTHER = [0.10, 0.42, 0.23, 0.35], [0.31, 0.55, 0.40, 0.62]


def cell(scores: list[float], seeds: list[int] | None = None) -> pd.Series:
    table = pd.DataFrame({"y": scores, "seed": seeds if seeds is not None else range(len(scores))})
    return scores_by_seed(table, "y")


def test_cells_with_the_same_seeds_give_scipy_s_paired_interval() -> None:
    change = average_change([Pair(cell(BASE), cell(OTHER))], QUIET)
    expected = stats.ttest_rel(OTHER, BASE)
    assert change is not None
    assert (change.interval.low, change.interval.high) == pytest.approx(tuple(expected.confidence_interval()))
    assert change.interval.p == pytest.approx(expected.pvalue)


def test_cells_without_common_seeds_give_scipy_s_welch_interval() -> None:
    change = average_change([Pair(cell(BASE), cell(OTHER, [4, 5, 6, 7]))], QUIET)
    expected = stats.ttest_ind(OTHER, BASE, equal_var=False)
    assert change is not None
    assert (change.interval.low, change.interval.high) == pytest.approx(tuple(expected.confidence_interval()))


@pytest.mark.parametrize("seeds", [None, [0, 0, 1, 1]], ids=["no column", "repeated"])
def test_rows_whose_seeds_are_unknown_are_independent_samples(seeds: list[int] | None) -> None:
    tables = [pd.DataFrame({"y": scores} | ({"seed": seeds} if seeds else {})) for scores in (BASE, OTHER)]
    change = average_change([Pair(*(scores_by_seed(table, "y") for table in tables))], QUIET)
    expected = stats.ttest_ind(OTHER, BASE, equal_var=False)
    assert change is not None and change.interval.p == pytest.approx(expected.pvalue)


def test_what_a_seed_changes_in_both_cells_does_not_widen_the_interval() -> None:
    shifts = np.array([0.0, 0.3, -0.2, 0.1])
    plain = average_change([Pair(cell(BASE), cell(OTHER))], QUIET)
    shifted = average_change([Pair(cell(list(BASE + shifts)), cell(list(OTHER + shifts)))], QUIET)
    assert plain is not None and shifted is not None
    assert shifted.interval.high - shifted.interval.low == pytest.approx(plain.interval.high - plain.interval.low)


def test_a_seed_that_one_cell_lacks_is_left_out_of_the_pair() -> None:
    whole = average_change([Pair(cell(BASE[:3]), cell(OTHER[:3]))], QUIET)
    lacking = average_change([Pair(cell(BASE), cell(OTHER[:3]))], QUIET)
    assert whole == lacking


def test_a_single_pair_with_two_common_seeds_counts_as_independent_samples() -> None:
    change = average_change([Pair(cell(BASE[:2]), cell(OTHER[:2]))], QUIET)
    expected = stats.ttest_ind(OTHER[:2], BASE[:2], equal_var=False)
    assert change is not None and change.interval.p == pytest.approx(expected.pvalue)
    twice = average_change([Pair(cell(BASE[:2]), cell(OTHER[:2]))] * 2, QUIET)
    assert twice is not None and twice.freedoms == (1, 1)  # one a pair: differences within seeds


def test_equal_differences_in_all_seeds_do_not_give_an_interval_without_width() -> None:
    change = average_change([Pair(cell([0.1, 0.2, 0.3]), cell([0.2, 0.3, 0.4]))], QUIET)
    assert change is not None and change.estimate == pytest.approx(0.1) and change.interval.high > change.interval.low


def test_a_cell_with_one_seed_gives_no_change() -> None:
    assert average_change([Pair(cell([0.1]), cell(OTHER))], QUIET) is None
    assert average_change([], QUIET) is None


def test_the_mean_over_pairs_has_the_error_of_independent_pairs() -> None:
    pairs = [Pair(cell(BASE), cell(OTHER)), Pair(cell(OTHER), cell(BASE))]
    one, both = average_change(pairs[:1], QUIET), average_change(pairs, QUIET)
    assert one is not None and both is not None
    assert both.estimate == pytest.approx(0) and both.variance == pytest.approx(one.variance / 2)
    assert both.freedom == pytest.approx(2 * one.freedom)


def test_two_changes_are_compared_as_scipy_compares_their_differences() -> None:
    first, second = np.array([0.1, 0.2, 0.4, 0.2]), np.array([0.5, 0.4, 0.1])
    changes = [Change(float(d.mean()), (float(d.var(ddof=1)) / len(d),), (len(d) - 1,)) for d in (first, second)]
    assert equality_p(changes) == pytest.approx(stats.ttest_ind(first, second, equal_var=False).pvalue)


def test_equal_changes_are_not_told_apart_and_unequal_ones_are() -> None:
    alike = [Change(0.2, (0.0001,), (2,)), Change(0.21, (0.0001,), (2,)), Change(0.19, (0.0002,), (2,))]
    unlike = [*alike, Change(0.9, (0.0001,), (2,))]
    assert equality_p(alike) > 0.5 and equality_p(unlike) < 0.01


def test_a_change_without_variance_does_not_decide_about_equality() -> None:
    flat, noisy = Change(0.0, (0.0,), (2,)), Change(0.05, (0.01,), (2,))
    assert 0.3 < equality_p([flat, noisy]) < 1
    assert equality_p([flat, Change(0.1, (0.0,), (2,))]) == 1.0


def test_cells_that_do_not_vary_take_the_noise_of_the_table() -> None:
    change = average_change([Pair(cell([0.0, 0.0]), cell([0.01, 0.01]))], Noise(0.04, 6))
    half = 0.2 * stats.t.ppf(0.975, 6)
    assert change is not None and change.interval.high == pytest.approx(0.01 + half)


def test_a_change_whose_noise_is_not_known_has_no_ends_and_is_not_clear() -> None:
    interval = Change(0.1, (0.0,), (2,)).interval
    assert interval.p == 1.0 and math.isinf(interval.low) and math.isinf(interval.high)


def test_the_noise_of_a_table_is_pooled_over_its_cells() -> None:
    noise = pool_noise([cell([0.1, 0.3]), cell([0.2, 0.2, 0.5]), cell([0.9])])
    assert noise.freedom == 3 and noise.variance == pytest.approx((0.02 + 0.06) / 3)


def test_a_mean_over_cells_is_by_the_seeds_that_all_of_them_have() -> None:
    mean = average_scores([cell([0.1, 0.2, 0.3]), cell([0.5, 0.6], [0, 2])])
    assert mean.index.name == "seed" and mean.to_dict() == pytest.approx({0: 0.3, 2: 0.45})
