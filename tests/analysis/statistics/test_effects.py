import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.data.tables import Tables
from analysis.statistics.effects import axis_effect, summarise_cells, welch_interval

WIDTH, N, STEPS = "model.hidden_size", "model.l_cycles", "model.supervision_steps"
RESPONSE = "test/exact_accuracy"


def test_a_cell_s_interval_is_t_on_the_pooled_variance() -> None:
    trials = pd.DataFrame({"cell": ["a", "a", "b", "b"], "y": [1.0, 3.0, 5.0, 6.0]})
    cells = summarise_cells(trials, ["cell"], "y")
    half = np.sqrt((1 + 1 + 0.25 + 0.25) / 2) * stats.t.ppf(0.975, 2) / np.sqrt(2)
    assert cells["mean"].tolist() == [2.0, 5.5]
    assert cells["low"].tolist() == pytest.approx([2 - half, 5.5 - half])


def test_one_seed_a_cell_has_no_interval() -> None:
    cells = summarise_cells(pd.DataFrame({"cell": ["a", "b"], "y": [1.0, 2.0]}), ["cell"], "y")
    assert cells[["low", "high"]].isna().all().all()


def test_accuracies_stay_between_0_and_1() -> None:
    trials = pd.DataFrame({"cell": ["a", "a"], "test/exact_accuracy": [0.0, 0.3]})
    cells = summarise_cells(trials, ["cell"], "test/exact_accuracy")
    assert cells["low"].item() == 0.0


def test_two_samples_give_scipy_s_welch_interval() -> None:
    a, b = [0.1, 0.2, 0.4], [0.5, 0.9, 0.6]
    interval = welch_interval(np.mean(b) - np.mean(a), np.array([np.var(x, ddof=1) / 3 for x in (a, b)]), np.array([2, 2]))
    expected = stats.ttest_ind(b, a, equal_var=False).confidence_interval()
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


def test_an_effect_compares_cells_that_differ_in_one_axis(tables: Tables) -> None:
    effect = axis_effect(tables.completed, N, [WIDTH, STEPS], RESPONSE, "all cells")
    assert effect is not None and effect.pairs == 4
    assert effect.change.low < 0.2 < effect.change.high and effect.change.is_clear
    assert effect.change.high - effect.change.low < 0.04


def test_an_axis_without_effect_is_not_clear(tables: Tables) -> None:
    effect = axis_effect(tables.completed, STEPS, [WIDTH, N], RESPONSE, "all cells")
    assert effect is not None and not effect.change.is_clear


def test_a_cell_without_its_partner_is_left_out(tables: Tables) -> None:
    trials = tables.completed
    trials = trials[~((trials[WIDTH] == 32) & (trials[N] == 3))]
    effect = axis_effect(trials, N, [WIDTH, STEPS], RESPONSE, "all cells")
    assert effect is not None and effect.pairs == 2


def test_without_replicates_nothing_is_claimed(tables: Tables) -> None:
    trials = tables.completed[tables.completed["seed"] == 0]
    assert axis_effect(trials, N, [WIDTH, STEPS], RESPONSE, "all cells") is None


def test_the_only_axis_is_compared_directly(tables: Tables) -> None:
    trials = tables.completed
    trials = trials[(trials[WIDTH] == 16) & (trials[STEPS] == 1)]
    effect = axis_effect(trials, N, [], RESPONSE, "all cells")
    assert effect is not None and effect.pairs == 1 and effect.change.estimate == pytest.approx(0.2, abs=0.03)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        rows = [(x, g, rng.normal(0.1 * x + 0.3 * g, 0.02 * (1 + g))) for x in (0, 1) for g in (0, 1, 2) for _ in range(3)]
        trials = pd.DataFrame(rows, columns=["x", "g", "y"])
        effect = axis_effect(trials, "x", ["g"], "y", "")
        assert effect is not None
        covered += effect.change.low <= 0.1 <= effect.change.high
    assert 0.92 <= covered / 400 <= 0.98
