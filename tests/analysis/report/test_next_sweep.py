"""What a report suggests to run next, and what that costs."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.data.tables import CURVE_COLUMNS, Tables, merge
from analysis.laws.fit import Fit
from analysis.laws.headline import Headline
from analysis.laws.recurrence import Recurrence
from analysis.report.build import build_report
from analysis.report.next_sweep import plan_next_sweep
from analysis.statistics.interval import Interval
from lightning_modules.yaml_file import parse_yaml, write_yaml
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
    return finish(SPEC)


def finish(spec: dict[str, Any]) -> Tables:
    """All trials of a sweep; a trial takes a second for each 16 of width and each latent update."""
    records = [
        trial.flat()
        | {"fingerprint": trial.fingerprint, "sweep": spec["name"], "outcome": "completed", "outside_spec": False}
        | {"wall_seconds": trial.model.hidden_size / 16 * trial.model.l_cycles}
        for trial in parse_stored_spec(write_yaml(spec), spec["name"], {}).design
    ]
    return Tables(pd.DataFrame(records), pd.DataFrame(columns=CURVE_COLUMNS), specs=(spec,))


def headline(low: float, estimate: float, high: float, word: str = "recursion", **changes: Any) -> Headline:
    return Headline("", rates={word: Interval(estimate, low, high)}, **{"fit": recurrence()} | changes)


def recurrence(group: dict[str, Any] | None = None, **changes: Any) -> Fit:
    return Fit(Recurrence(), "test/nll", group or {}, 18, 9, 2, form="one_exponent", **changes)


def test_a_rate_that_could_be_one_asks_for_more_seeds(finished: Tables) -> None:
    following = plan_next_sweep(finished, [], [headline(0.9, 1.2, 1.6)])
    assert following is not None
    assert following.reason == "The 95 % CI of the rate along recursion includes 1: more seeds would narrow it."
    assert parse_yaml(following.spec, "next")["measure"]["seeds"] == 2 * 3  # ((log 1.6 - log 0.9) / 2 / log 1.2)^2 = 2.5


def test_recursion_that_still_helps_asks_for_one_more_doubling_and_its_time_follows_from_finished_trials(finished: Tables) -> None:
    following = plan_next_sweep(finished, [], [headline(1.5, 2.0, 2.5)])
    assert following is not None
    spec = parse_yaml(following.spec, "next")
    assert spec["name"] == "small" and spec["measure"]["vary"]["model.l_cycles"] == [1, 2, 4, 8]
    seconds = sum(width / 16 * 8 for width in (16, 32, 64)) * 2
    minutes = f"about {seconds / 60:.0f} minutes of one worker, by the times of finished trials."
    assert following.cost == f"It adds 6 trials to 18 that have ended: {minutes}"


@pytest.mark.parametrize(
    ("word", "path", "levels"),
    [
        ("h_cycles", "model.h_cycles", [1, 2]),
        ("l_cycles_plus_1", "model.l_cycles", [1, 2, 4, 8]),
        ("supervision_steps", "model.supervision_steps", [1, 2]),
    ],
)
def test_the_axis_of_recursion_with_the_highest_rate_is_doubled(finished: Tables, word: str, path: str, levels: list[int]) -> None:
    rates = {word: Interval(2.0, 1.5, 2.5), "num_layers": Interval(3.0, 2.5, 3.5)}
    following = plan_next_sweep(finished, [], [Headline("", rates=rates, fit=recurrence())])
    assert following is not None
    assert parse_yaml(following.spec, "next")["measure"]["vary"][path] == levels


def test_the_rates_of_a_real_headline_lead_to_a_suggestion(finished: Tables) -> None:
    trials, rng = finished.trials, np.random.default_rng(0)
    size, n = trials["model.hidden_size"] ** 2, trials["model.l_cycles"]
    columns = {
        "params_recursed": size,
        "recursion": n + 1,
        "test/nll": size**-0.3 * (n + 1) ** -0.2 + 1e-3 * rng.random(len(trials)),
    }
    report = build_report(replace(finished, trials=trials.assign(**columns)))
    assert report.headlines[0].rates and report.following is not None
    assert report.following.reason.startswith("On sudoku (trm), the largest recursion still helps")


def test_a_doubling_is_also_suggested_for_the_open_question_at_equal_flops(finished: Tables) -> None:
    undecided = Headline("", rates={"recursion": Interval(2.0, 1.5, 2.5)}, fit=recurrence(), is_cost_open=True)
    following = plan_next_sweep(finished, [], [undecided])
    assert following is not None
    assert following.reason.endswith("where that ends, and narrows the interval at equal FLOPs.")


def test_an_axis_whose_last_doubling_brings_nothing_is_not_doubled(finished: Tables) -> None:
    rates = {"h_cycles": Interval(3.0, 2.5, 3.5), "l_cycles_plus_1": Interval(2.0, 1.5, 2.5)}
    following = plan_next_sweep(finished, [], [Headline("", rates=rates, fit=recurrence(), ended={"h_cycles"})])
    assert following is not None
    assert parse_yaml(following.spec, "next")["measure"]["vary"]["model.l_cycles"] == [1, 2, 4, 8]


def test_the_sweep_of_the_group_with_the_rates_is_extended_and_the_reason_names_the_group(finished: Tables) -> None:
    spec = SPEC | {"name": "mazes", "trial": SPEC["trial"] | {"task": {"kind": "maze"}}}
    spec["measure"] = SPEC["measure"] | {"seeds": 3}
    both = merge([finished, finish(spec)])
    following = plan_next_sweep(both, [], [headline(1.5, 2.0, 2.5, fit=recurrence({"task.kind": "sudoku", "model.kind": "trm"}))])
    assert following is not None and parse_yaml(following.spec, "next")["name"] == "small"
    assert following.reason.startswith("On sudoku (trm), the largest recursion still helps")


def test_a_plateau_asks_for_the_same_design_at_twice_the_budget_at_twice_the_time(finished: Tables) -> None:
    following = plan_next_sweep(finished, [], [headline(1.5, 2.0, 2.5, ended={"recursion"})])
    assert following is not None
    spec = parse_yaml(following.spec, "next")
    assert spec["name"] == "small_longer" and spec["trial"]["fit"]["budget"] == {"unit": "steps", "amount": 200}
    seconds = 2 * finished.trials["wall_seconds"].sum()
    assert following.cost == f"It adds 18 trials: about {seconds / 60:.0f} minutes of one worker, by the times of finished trials."


def test_a_refused_law_comes_with_the_design_that_would_identify_it(finished: Tables) -> None:
    following = plan_next_sweep(finished, [recurrence(reason=Reason.TOO_FEW_SCALES, suggestion=write_yaml(SPEC))], [])
    assert following is not None and following.spec == write_yaml(SPEC)
    assert (
        following.reason.startswith("The recurrence law is not fitted: ")
        and following.cost == "It adds 0 trials to 18 that have ended."
    )


def test_cells_that_have_not_learned_the_task_ask_for_longer_training_before_a_wider_design(finished: Tables) -> None:
    refused = recurrence(reason=Reason.TOO_FEW_SCALES, suggestion=write_yaml(SPEC))
    following = plan_next_sweep(finished, [refused], [], accuracies=[0.0, 0.01, 0.04])
    assert following is not None and following.reason.startswith("All cells lie below 5 % exact accuracy: ")
    spec = parse_yaml(following.spec, "next")
    assert spec["name"] == "small_longer" and spec["trial"]["fit"]["budget"]["amount"] == 4 * 100
    learned = plan_next_sweep(finished, [refused], [], accuracies=[0.0, 0.01, 0.06])
    assert learned is not None and learned.spec == write_yaml(SPEC)


def test_a_rate_that_is_known_although_no_cell_solves_a_puzzle_leads_on(finished: Tables) -> None:
    following = plan_next_sweep(finished, [], [headline(1.5, 2.0, 2.5)], accuracies=[0.0, 0.01])
    assert following is not None and following.reason.startswith("The largest recursion still helps")


def test_a_law_that_does_not_describe_the_trials_has_no_design_that_would_identify_it(finished: Tables) -> None:
    assert plan_next_sweep(finished, [recurrence(reason=Reason.LACK_OF_FIT, suggestion=write_yaml(SPEC))], []) is None


def test_without_the_spec_of_the_sweep_and_without_a_refusal_nothing_is_suggested(finished: Tables) -> None:
    assert plan_next_sweep(replace(finished, specs=()), [], [headline(1.5, 2.0, 2.5)]) is None


def test_a_table_without_times_gives_the_number_of_trials_alone(finished: Tables) -> None:
    untimed = replace(finished, trials=finished.trials.assign(wall_seconds=np.nan))
    following = plan_next_sweep(untimed, [], [headline(1.5, 2.0, 2.5)])
    assert following is not None and following.cost == "It adds 6 trials to 18 that have ended."


def test_a_foreign_table_without_settings_has_no_time(finished: Tables) -> None:
    trials = finished.trials[["fingerprint", "sweep", "outcome", "outside_spec", "wall_seconds"]]
    refused = recurrence(reason=Reason.TOO_FEW_SCALES, suggestion=write_yaml(SPEC | {"name": "other"}))
    following = plan_next_sweep(replace(finished, trials=trials.assign(fingerprint="none"), specs=()), [refused], [])
    assert following is not None and following.cost == "It adds 18 trials."


def test_a_failed_trial_is_not_run_again_and_a_lost_one_is(finished: Tables) -> None:
    outcomes = ["failed", "failed", *finished.trials["outcome"][2:]]
    trials = finished.trials.assign(outcome=outcomes, retryable=[True, *[np.nan] * (len(outcomes) - 1)])
    following = plan_next_sweep(replace(finished, trials=trials), [], [headline(1.5, 2.0, 2.5)])
    assert following is not None and following.cost.startswith("It adds 7 trials to 17 that have ended: ")


def test_a_loss_that_does_not_clearly_fall_with_size_asks_for_twice_the_seeds(finished: Tables) -> None:
    following = plan_next_sweep(finished, [], [Headline("cannot be stated in parameters", fit=recurrence())])
    assert following is not None and following.reason.startswith("The loss does not fall clearly with parameters")
    assert parse_yaml(following.spec, "next")["measure"]["seeds"] == 4


def test_a_suggestion_with_another_unit_of_the_budget_has_no_time(finished: Tables) -> None:
    flops = SPEC | {"trial": SPEC["trial"] | {"fit": {"batch_size": 32, "budget": {"unit": "train_flops", "amount": 1e12}}}}
    flops["measure"] = SPEC["measure"] | {"matching": "train_flops"}
    following = plan_next_sweep(finished, [recurrence(reason=Reason.TOO_FEW_SCALES, suggestion=write_yaml(flops))], [])
    assert following is not None and following.cost == "It adds 18 trials."
