"""What parameters account for, and whether tasks agree, on tables whose truth is known."""

import itertools

import numpy as np
import pandas as pd
import pytest

from analysis.data.tables import CURVE_COLUMNS, Tables
from analysis.statistics.importance import anova_shares, ped_anova
from analysis.statistics.task_agreement import task_agreements


def factorial(gain: float, together: float, noise: float) -> pd.DataFrame:
    """a adds `gain`, b nothing, both together `together`."""
    rng = np.random.default_rng(0)
    rows = [(a, b, 0.5 + gain * a + together * (a - 0.5) * (b - 0.5) + noise * rng.standard_normal())
            for a, b, _ in itertools.product((0, 1), (0, 1), range(5))]  # fmt: skip
    return pd.DataFrame(rows, columns=["model.a", "model.b", "y"])


def test_shares_are_of_the_axis_that_does_it() -> None:
    shares = {one.parameter: one for one in anova_shares(factorial(0.2, 0.0, 0.02), ["model.a", "model.b"], "y")}
    assert shares["model.a"].share > 0.9 and shares["model.b"].share < 0.02 and shares["axes together"].share < 0.02
    assert sum(one.share for one in shares.values()) == pytest.approx(1, abs=0.02)
    assert all(one.low <= one.share <= one.high for one in shares.values())


def test_what_axes_do_together_is_told_from_what_each_does() -> None:
    shares = {one.parameter: one.share for one in anova_shares(factorial(0.0, 0.5, 0.02), ["model.a", "model.b"], "y")}
    assert shares["axes together"] > 0.9 and max(shares["model.a"], shares["model.b"]) < 0.02


def test_noise_belongs_to_the_seeds() -> None:
    shares = {one.parameter: one for one in anova_shares(factorial(0.0, 0.0, 0.1), ["model.a", "model.b"], "y")}
    assert shares["seeds"].share > 0.6 and shares["model.a"].low == 0.0


def test_a_design_without_replicates_has_no_shares() -> None:
    assert anova_shares(factorial(0.2, 0.0, 0.02).drop_duplicates(["model.a", "model.b"]), ["model.a", "model.b"], "y") == []


def test_a_search_finds_the_parameter_that_matters() -> None:
    rng = np.random.default_rng(0)
    lr, width = np.exp(rng.uniform(-9, -3, 80)), rng.choice([16, 32, 64], 80)
    y = -((np.log(lr) + 6) ** 2) + 0.01 * rng.standard_normal(80)
    trials = pd.DataFrame({"optim.lr": lr, "model.hidden_size": width, "optim.kind": rng.choice(["muon", "adamw"], 80), "y": y})
    first, *others = sorted(ped_anova(trials, ["optim.lr", "model.hidden_size", "optim.kind"], "y"), key=lambda one: -one.share)
    assert first.parameter == "optim.lr" and first.low > max(one.share for one in others)
    assert ped_anova(trials.head(5), ["optim.lr", "model.hidden_size"], "y") == []


@pytest.mark.parametrize("sign", [1, -1])
def test_tasks_agree_or_disagree(sign: int) -> None:
    rng, slopes = np.random.default_rng(0), {"maze": 0.02 * sign, "sudoku": 0.02}
    rows = [{"fingerprint": f"{task}{width}{n}{seed}", "outcome": "completed", "outside_spec": False, "sweep": "s", "seed": seed,
             "task.kind": task, "model.hidden_size": width, "model.l_cycles": n,
             "test/exact_accuracy": 0.5 + slopes[task] * (np.log2(width) + n) + 0.001 * rng.standard_normal()}
            for task, width, n, seed in itertools.product(("maze", "sudoku"), (16, 32, 64, 128), (1, 2, 3), (0, 1))]  # fmt: skip
    (one,) = task_agreements(Tables(pd.DataFrame(rows), pd.DataFrame(columns=CURVE_COLUMNS)), "test/exact_accuracy")
    assert (one.task, one.other, one.settings) == ("maze", "sudoku", 12)
    assert sign * one.correlation > 0.9 and one.low < one.correlation < one.high and sign * (one.low + one.high) > 0
