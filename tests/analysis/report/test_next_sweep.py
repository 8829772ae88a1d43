"""What a report suggests to run next, and what that costs."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.data.tables import CURVE_COLUMNS, Tables
from analysis.laws.fit import Fit
from analysis.laws.headline import Headline
from analysis.laws.recurrence import Recurrence
from analysis.report.next_sweep import plan_next_sweep
from analysis.statistics.interval import Interval
from lightning_modules.yaml_file import parse_yaml, write_yaml
from sweeps.design.axes import RECURSION
from sweeps.design.reasons import Reason
from sweeps.spec.load_spec import parse_stored_spec

SPEC: dict[str, Any] = {
    "name": "small",
    "defaults": 2,
    "trial": {
        "task": {"kind": "sudoku", "size": 4},
        "model": {"kind": "trm", "num_layers": 1, "h_cycles": 1, "supervision_steps": 1, "halting": "fixed"},
        "fit": {"batch_size": 32, "budget": {"unit": "steps", "amount": 100}},
    },
    "measure": {"vary": {"model.hidden_size": [16, 32, 64], "model.l_cycles": [1, 2, 4]}, "seeds": 2, "matching": "steps"},
}


@pytest.fixture(scope="module")
def finished() -> Tables:
    """All trials of a sweep; a trial takes a second for each 16 of width and each latent update."""
    records = [
        trial.flat()
        | {"fingerprint": trial.fingerprint, "sweep": "small", "outcome": "completed", "outside_spec": False}
        | {"wall_seconds": trial.model.hidden_size / 16 * trial.model.l_cycles}
        for trial in parse_stored_spec(write_yaml(SPEC), "small", {}).design
    ]
    return Tables(pd.DataFrame(records), pd.DataFrame(columns=CURVE_COLUMNS), specs=(SPEC,))


def headline(low: float, estimate: float, high: float, axis: str = RECURSION) -> Headline:
    return Headline("", rates={axis: Interval(estimate, low, high)})


def recurrence(**changes: Any) -> Fit:
    return Fit(Recurrence(), "test/nll", {}, 18, 9, 2, form="one_exponent", **changes)


def test_a_rate_that_could_be_one_asks_for_more_seeds(finished: Tables) -> None:
    following = plan_next_sweep(finished, [], [headline(0.9, 1.2, 1.6)])
    assert following is not None and "includes 1" in following.reason
    assert parse_yaml(following.spec, "next")["measure"]["seeds"] == 2 * 3  # ((log 1.6 - log 0.9) / 2 / log 1.2)^2 = 2.5


def test_recursion_that_still_helps_asks_for_one_more_doubling_and_its_time_follows_from_finished_trials(finished: Tables) -> None:
    following = plan_next_sweep(finished, [], [headline(1.5, 2.0, 2.5)])
    assert following is not None
    spec = parse_yaml(following.spec, "next")
    assert spec["name"] == "small" and spec["measure"]["vary"]["model.l_cycles"] == [1, 2, 4, 8]
    seconds = sum(width / 16 * 8 for width in (16, 32, 64)) * 2
    assert following.cost == f"It adds 6 trials: about {seconds / 60:.0f} minutes of one worker, by the times of finished trials."


def test_the_axis_with_the_highest_rate_is_doubled(finished: Tables) -> None:
    following = plan_next_sweep(finished, [], [headline(1.5, 2.0, 2.5, "model.supervision_steps")])
    assert following is not None
    assert parse_yaml(following.spec, "next")["measure"]["vary"]["model.supervision_steps"] == [1, 2]


def test_a_plateau_asks_for_the_same_design_at_twice_the_budget_at_twice_the_time(finished: Tables) -> None:
    following = plan_next_sweep(finished, [recurrence(flags=("curvature", "plateau"))], [headline(1.5, 2.0, 2.5)])
    assert following is not None
    spec = parse_yaml(following.spec, "next")
    assert spec["name"] == "small_longer" and spec["trial"]["fit"]["budget"] == {"unit": "steps", "amount": 200}
    seconds = 2 * finished.trials["wall_seconds"].sum()
    assert following.cost == f"It adds 18 trials: about {seconds / 60:.0f} minutes of one worker, by the times of finished trials."


def test_a_refused_law_comes_with_the_design_that_would_identify_it(finished: Tables) -> None:
    following = plan_next_sweep(finished, [recurrence(reason=Reason.LACK_OF_FIT, suggestion=write_yaml(SPEC))], [])
    assert following is not None and following.spec == write_yaml(SPEC)
    assert following.reason.startswith("The recurrence law is not fitted: ") and following.cost == "It adds 0 trials."


def test_without_the_spec_of_the_sweep_and_without_a_refusal_nothing_is_suggested(finished: Tables) -> None:
    assert plan_next_sweep(replace(finished, specs=()), [], [headline(1.5, 2.0, 2.5)]) is None


def test_a_table_without_times_gives_the_number_of_trials_alone(finished: Tables) -> None:
    untimed = replace(finished, trials=finished.trials.assign(wall_seconds=np.nan))
    following = plan_next_sweep(untimed, [], [headline(1.5, 2.0, 2.5)])
    assert following is not None and following.cost == "It adds 6 trials."
