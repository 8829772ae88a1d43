import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.statistics.cells import summarise_cells


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
