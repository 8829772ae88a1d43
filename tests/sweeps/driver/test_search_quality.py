"""A search proposes what plain Optuna proposes: through the spec, Ray's workers and the study nothing is lost or moved.

`make test-slow`
"""

import pytest
from optuna.trial import FrozenTrial

from benchmarks.search_quality import PROBLEMS, Run, plain_study, replayed_study, sweep_all

SEED = 3
ONE_AT_A_TIME = {
    kind: Run(PROBLEMS[kind]._replace(num_trials=num_trials), SEED, concurrent=1)
    for kind, num_trials in (("tpe", 30), ("gp", 14), ("nsga2", 60))
}
TWO_AT_A_TIME = Run(PROBLEMS["tpe"]._replace(num_trials=30), SEED, concurrent=2)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[FrozenTrial]]:
    runs = [*ONE_AT_A_TIME.values(), TWO_AT_A_TIME]
    studies = sweep_all(runs, tmp_path_factory.mktemp("swept"))
    return {run.name: trials for run, trials in zip(runs, studies, strict=True)}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ONE_AT_A_TIME)
def test_one_trial_at_a_time_is_plain_optuna_point_by_point(kind: str, swept: dict[str, list[FrozenTrial]]) -> None:
    run = ONE_AT_A_TIME[kind]
    plain = plain_study(run.problem, SEED, concurrent=1).trials
    assert [trial.params for trial in swept[run.name]] == [trial.params for trial in plain]
    assert [trial.values for trial in swept[run.name]] == [trial.values for trial in plain]


@pytest.mark.slow
def test_two_at_a_time_are_plain_optuna_in_the_order_of_their_ends(swept: dict[str, list[FrozenTrial]]) -> None:
    trials = swept[TWO_AT_A_TIME.name]
    plain = replayed_study(TWO_AT_A_TIME.problem, SEED, trials).trials
    assert [trial.params for trial in trials] == [trial.params for trial in plain]
    began, ended = [trial.datetime_start for trial in trials], [trial.datetime_complete for trial in trials]
    assert any(start < end for start, end in zip(began[1:], ended[:-1], strict=True))  # there were two
