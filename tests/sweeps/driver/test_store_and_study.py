"""The store is the truth: what its study holds beside it neither counts nor stands in the way of a search."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from rrm.errors import UserError
from sweeps.driver.ledger import Ledger
from sweeps.driver.study import FINGERPRINT
from sweeps.driver.study_database import Generations
from sweeps.worker.messages import Lost
from tests.sweeps.conftest import Sections, ending, load_study, record_of, search_sections, stored_trial
from tests.sweeps.driver.test_ledger import run_all

LR = {"log_uniform": [1e-4, 1e-2]}
WIDTHS = {"choice": [16, 24]}


def sections(space: dict[str, Any], num_trials: int = 4, **search: Any) -> Sections:
    made = search_sections()
    made["search"] |= {"space": space, "num_trials": num_trials, **search}
    return made


def counted(ledger: Ledger) -> dict[str, float]:
    """Values by fingerprint of the trials that the sampler learns from."""
    trials = load_study(ledger.store.driver_folder).trials
    return {trial.user_attrs[FINGERPRINT]: trial.value for trial in trials if trial.state == TrialState.COMPLETE}


CYCLES = {"int": [1, 4]}
CHANGED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "choices are added": ({"model.hidden_size": WIDTHS}, {"model.hidden_size": {"choice": [16, 24, 32]}}, "tpe"),
    "choices are removed": ({"model.hidden_size": WIDTHS}, {"model.hidden_size": {"choice": [24]}}, "tpe"),
    "choices are reordered": ({"model.hidden_size": WIDTHS}, {"model.hidden_size": {"choice": [24, 16]}}, "random"),
    "a choice becomes a range": ({"model.l_cycles": {"choice": [1, 2, 4]}}, {"model.l_cycles": {"int": [1, 3]}}, "tpe"),
    "a choice becomes continuous": ({"optim.lr": {"choice": [1e-3, 2e-3, 3e-3, 4e-3]}}, {"optim.lr": LR}, "tpe"),
    "a logarithm comes": ({"model.l_cycles": CYCLES}, {"model.l_cycles": {"log_int": [1, 4]}}, "qmc"),
    "a logarithm goes": ({}, {"optim.lr": {"uniform": [1e-4, 1e-2]}}, "gp"),
    "a range is narrowed": ({}, {"optim.lr": {"log_uniform": [1e-3, 2e-3]}}, "qmc"),
    "a range is widened": ({"optim.lr": {"log_uniform": [1e-3, 2e-3]}}, {"optim.lr": LR}, "tpe"),
    "a path is added": ({}, {"model.l_cycles": {"int": [2, 3]}}, "nsga2"),
    "a path is removed": ({"model.l_cycles": {"int": [2, 3]}}, {}, "tpe"),
}


TAKE_LONG = {"choices are reordered", "a choice becomes continuous", "a logarithm comes", "a range is widened", "a path is removed"}


@pytest.mark.parametrize(
    ("before", "after", "sampler"),
    [pytest.param(*case, id=name, marks=pytest.mark.more if name in TAKE_LONG else ()) for name, case in CHANGED.items()],
)
def test_a_changed_space_goes_on_with_the_results_that_lie_in_it(
    open_ledger: Callable, before: dict[str, Any], after: dict[str, Any], sampler: str
) -> None:
    before, after = {"optim.lr": LR} | before, {"optim.lr": LR} | after
    first = open_ledger(sections(before, sampler={"kind": sampler}))
    run_all(first)
    old = {name: record["val/nll"] for name, record in first.results.items()}
    second = open_ledger(sections(after, num_trials=6, sampler={"kind": sampler}))
    inside = {name: old[name] for name in second.results}
    note, *rest = second.queue.study.notes
    assert note.startswith("the search space has changed: the study goes on as generation 2")
    assert note.endswith("; the QMC sequence starts again") == (sampler == "qmc")
    assert [said.split(";")[0] for said in rest] == (
        [f"finished trials outside the search space: {4 - len(inside)}"] if len(inside) < 4 else []
    )
    assert counted(second) == inside
    run_all(second)
    assert len(second.results) == 6 and second.finished and set(second.store.results()) == {*old, *second.results}
    for name in second.results:
        config = stored_trial(second, name)
        assert second.queue.study.search.drawn_values(config.flat()) is not None
    third = open_ledger(sections(after, num_trials=6, sampler={"kind": sampler}))
    assert third.finished and third.queue.study.notes == rest  # no further generation


def test_a_study_that_is_lost_after_the_space_was_narrowed_is_rebuilt_of_what_lies_in_it(open_ledger: Callable) -> None:
    run_all(open_ledger(sections({"optim.lr": LR}, num_trials=8)))
    narrow = sections({"optim.lr": {"log_uniform": [1e-3, 1e-2]}}, num_trials=8)
    expected = counted(open_ledger(narrow))
    assert 0 < len(expected) < 8
    for file in (open_ledger(narrow).store.driver_folder).glob("study.db*"):
        file.unlink()
    assert counted(open_ledger(narrow)) == expected


def test_a_trial_that_was_begun_outside_the_present_space_is_not_gone_on_with(open_ledger: Callable) -> None:
    begun = open_ledger(sections({"model.hidden_size": {"choice": [16]}, "optim.lr": LR})).ask()
    second = open_ledger(sections({"model.hidden_size": {"choice": [24]}, "optim.lr": LR}))
    assert begun.fingerprint not in {config.fingerprint for config in run_all(second)} and len(second.results) == 4


def test_points_that_were_tried_are_not_tried_again_in_the_next_generation(open_ledger: Callable) -> None:
    points = [{"optim.lr": 3e-3}, {"optim.lr": 4e-3}]
    open_ledger(sections({"optim.lr": LR, "model.hidden_size": WIDTHS}, points=points)).ask()
    wider = {"optim.lr": LR, "model.hidden_size": {"choice": [16, 24, 32]}}
    asked = run_all(open_ledger(sections(wider, num_trials=6, points=points)))
    assert [config.optim.lr for config in asked].count(3e-3) == 1 == [config.optim.lr for config in asked].count(4e-3)


def fail(ledger: Ledger) -> str:
    config = ledger.ask()
    ledger.end(config.fingerprint, ending(config, nll=float("nan")))
    return str(config.fingerprint)


@pytest.mark.parametrize("how", ["failed", "completed"])
def test_a_trial_whose_folder_was_removed_is_run_anew(open_ledger: Callable, how: str) -> None:
    spec = sections({"optim.lr": LR})
    first = open_ledger(spec)
    failed = fail(first)
    completed = [config.fingerprint for config in run_all(first)]
    removed = failed if how == "failed" else completed[1]
    shutil.rmtree(first.store.where(removed))
    second = open_ledger(spec)
    assert len(second.results) == 3 and not second.finished
    assert [config.fingerprint for config in run_all(second)] == [removed]
    third = open_ledger(spec)
    assert third.finished and len(third.results) == 4 and third.results[removed]["outcome"] == "completed"


def test_a_store_from_an_older_backup_repeats_what_came_after_it(open_ledger: Callable, tmp_path: Path) -> None:
    spec = sections({"optim.lr": LR}, num_trials=6)
    first = open_ledger(spec)
    for _ in range(2):
        config = first.ask()
        first.end(config.fingerprint, ending(config, nll=1.0))
    shutil.copytree(first.store.location, tmp_path / "backup")
    later = [config.fingerprint for config in run_all(first)]
    for name in ("trials", "rows.jsonl"):  # with the study of today, as on a database of a team
        path, backup = Path(first.store.location) / name, tmp_path / "backup" / name
        if path.is_dir():
            shutil.rmtree(path)
            shutil.copytree(backup, path)
    second = open_ledger(spec)
    assert len(second.results) == 2 and second.queue.study.notes == [
        "the store has lost trials: the study goes on as generation 2, with 2 of 2 finished trials"
    ]
    assert sorted(config.fingerprint for config in run_all(second)) == sorted(later)


def test_a_trial_that_is_run_anew_has_the_rows_of_its_last_run(open_ledger: Callable) -> None:
    spec = sections({"optim.lr": LR})
    row = {"step": 4, "time": 0, "metrics": {"val_curve/nll": 0.5, "val_curve/exact_accuracy": 0.1}, "used": {"steps": 4}}
    first = open_ledger(spec)
    config = first.ask()
    first.row(config.fingerprint, row)
    first.end(config.fingerprint, ending(config, nll=float("nan")))
    shutil.rmtree(first.store.where(config.fingerprint))
    second = open_ledger(spec)
    assert second.ask().fingerprint == config.fingerprint and second.store.rows() == []
    second.row(config.fingerprint, row | {"time": 1})
    third = open_ledger(spec)
    assert [line["row"]["time"] for line in third.store.rows()] == [1]
    assert [line["time"] for line in third.live[config.fingerprint].rows] == [1]


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database of studies for all storages."""
    url = f"sqlite:///{tmp_path / 'team.db'}"
    monkeypatch.setenv("RRM_STUDY_URL", url)
    return url


@pytest.mark.more
def test_a_second_storage_and_a_second_goal_have_studies_of_their_own(open_ledger: Callable, tmp_path: Path, team: str) -> None:
    spec = sections({"optim.lr": LR})
    run_all(open_ledger(spec))
    (tmp_path / "runs/tiny").rename(tmp_path / "first")
    for objectives in (
        [{"metric": "val/nll", "goal": "minimize"}],
        [{"metric": "val/exact_accuracy", "goal": "maximize"}],
        [{"metric": "val/nll", "goal": "minimize"}, {"metric": "params", "goal": "minimize"}],
    ):
        ledger = open_ledger(sections({"optim.lr": LR}, objectives=objectives))  # `rm -rf`, and a second person
        assert not ledger.finished and not ledger.results and len(run_all(ledger)) == 4
        shutil.rmtree(tmp_path / "runs/tiny")
    assert len(optuna.get_all_study_names(team)) == 4
    (tmp_path / "first").rename(tmp_path / "runs/tiny")  # moved back: the same sweep
    assert open_ledger(spec).finished


@pytest.mark.parametrize(
    "objectives",
    [[{"metric": "val/nll", "goal": "maximize"}], [{"metric": name, "goal": "minimize"} for name in ("val/nll", "params")]],
    ids=["another goal", "two goals"],
)
def test_other_goals_are_refused_in_a_line_once_trials_were_begun(open_ledger: Callable, objectives: list[dict[str, str]]) -> None:
    ledger = open_ledger(sections({"optim.lr": LR}))
    other = sections({"optim.lr": LR}, objectives=objectives)
    assert open_ledger(other).queue.study is not None  # nothing was begun
    open_ledger(sections({"optim.lr": LR}))
    ledger = open_ledger(sections({"optim.lr": LR}))
    config = ledger.ask()
    with pytest.raises(UserError, match=r"search\.objectives: must keep the goals of the trials that were begun, minimize, got"):
        open_ledger(other)
    ledger.end(config.fingerprint, ending(config))
    with pytest.raises(UserError, match=r"has finished trials under other settings \(objectives"):
        open_ledger(other)


def forget_identity(ledger: Ledger) -> None:
    """Make the store one of a version before stores had an identity: its study is named as the sweep."""
    storage = f"sqlite:///{ledger.store.driver_folder / 'study.db'}"
    name = load_study(ledger.store.driver_folder).study_name
    optuna.copy_study(from_study_name=name, from_storage=storage, to_storage=storage, to_study_name="tiny")
    optuna.delete_study(study_name=name, storage=storage)
    (ledger.store.driver_folder / "identity.json").unlink()


def test_a_store_without_identity_takes_over_its_study_as_it_is(open_ledger: Callable) -> None:
    spec = sections({"optim.lr": LR, "model.hidden_size": {"int": [16, 64], "step": 16}}, constraints=["params <= 12000"])
    first = open_ledger(spec)
    done, begun = first.ask(), first.ask()
    first.end(done.fingerprint, ending(done))
    before = load_study(first.store.driver_folder).trials
    forget_identity(first)
    second = open_ledger(spec)
    after = load_study(second.store.driver_folder).trials
    assert [(t.state, t.params, t.user_attrs) for t in after] == [(t.state, t.params, t.user_attrs) for t in before]
    assert second.ask().fingerprint == begun.fingerprint and len(second.results) == 1


def test_a_fresh_store_takes_over_no_study_of_the_same_name(open_ledger: Callable, tmp_path: Path, team: str) -> None:
    optuna.create_study(study_name="tiny", storage=team, direction="maximize").add_trial(
        optuna.trial.create_trial(value=1.0, user_attrs={FINGERPRINT: "0123456789abcdef"})
    )
    assert len(run_all(open_ledger(sections({"optim.lr": LR})))) == 4


def test_a_generation_whose_making_was_cut_off_is_made_again(open_ledger: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    run_all(open_ledger(sections({"optim.lr": LR}, num_trials=3)))
    wider = sections({"optim.lr": {"log_uniform": [1e-5, 1e-2]}}, num_trials=5)
    with monkeypatch.context() as patch:
        patch.setattr(Generations, "complete", lambda generations: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            open_ledger(wider)
    again = open_ledger(wider)
    assert len(counted(again)) == 3 and len(run_all(again)) == 2


def test_a_used_up_space_is_remembered_and_named(open_ledger: Callable) -> None:
    spec = sections({"model.hidden_size": WIDTHS}, num_trials=5)
    first = open_ledger(spec)
    assert len(run_all(first)) == 2 and first.finished
    assert first.queue.shortfall == "the search space holds no further trial: the search ends with 2 of search.num_trials = 5"
    proposals = len(load_study(first.store.driver_folder).trials)
    assert proposals < 10
    second = open_ledger(spec)
    assert second.finished and second.queue.shortfall == first.queue.shortfall
    assert len(load_study(first.store.driver_folder).trials) == proposals
    wider = open_ledger(sections({"model.hidden_size": {"choice": [16, 24, 32]}}, num_trials=5))
    assert not wider.finished and len(run_all(wider)) == 1
    shutil.rmtree(wider.store.where(next(iter(wider.results))))
    assert len(run_all(open_ledger(sections({"model.hidden_size": {"choice": [16, 24, 32]}}, num_trials=5)))) == 1


def test_every_point_of_a_finite_space_is_found_before_it_is_used_up(open_ledger: Callable) -> None:
    space = {"model.hidden_size": {"int": [8, 64], "step": 8}, "model.l_cycles": {"choice": [1, 2, 3]}}
    ledger = open_ledger(sections(space, num_trials=30, sampler={"kind": "random"}))
    assert len(run_all(ledger)) == 24 and ledger.finished


@pytest.mark.parametrize("kind", ["gp", "tpe"])
def test_a_sampler_that_proposes_the_edge_of_a_continuous_range_again_and_again_goes_on(
    open_ledger: Callable, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    sampler = (
        type(optuna.create_study(sampler=optuna.samplers.TPESampler()).sampler) if kind == "tpe" else optuna.samplers.GPSampler
    )
    edge = {"optim.lr": 1e-2}
    monkeypatch.setattr(sampler, "sample_relative", lambda *_: edge)
    monkeypatch.setattr(sampler, "infer_relative_search_space", lambda *_: {
        "optim.lr": optuna.distributions.FloatDistribution(1e-4, 1e-2, log=True)
    })  # fmt: skip
    ledger = open_ledger(sections({"optim.lr": LR}, num_trials=4, sampler={"kind": kind}))
    assert len({config.optim.lr for config in run_all(ledger)}) == 4 and ledger.queue.shortfall is None


@pytest.mark.parametrize(
    "space",
    [{"optim.weight_decay": {"choice": [0, 1]}}, {"optim.weight_decay": {"int": [0, 3]}}, {"model.expansion": {"choice": [2, 4]}}],
    ids=["choice", "int", "expansion"],
)
def test_whole_numbers_of_a_field_of_fractions_lie_in_the_space(open_ledger: Callable, space: dict[str, Any]) -> None:
    first = open_ledger(sections(space, num_trials=2))
    run_all(first)
    for file in first.store.driver_folder.glob("study.db*"):
        file.unlink()
    second = open_ledger(sections(space, num_trials=2))
    assert second.finished and second.results.keys() == first.results.keys() and not second.queue.study.notes


def test_a_point_that_waits_outside_the_present_space_is_not_tried(open_ledger: Callable) -> None:
    wide, narrow = {"model.l_cycles": {"int": [1, 8]}, "optim.lr": LR}, {"model.l_cycles": {"int": [1, 2]}, "optim.lr": LR}
    open_ledger(sections(wide, points=[{"model.l_cycles": 8}]))
    asked = run_all(open_ledger(sections(narrow)))
    assert len(asked) == 4 and {config.model.l_cycles for config in asked} <= {1, 2}


def test_trials_of_a_warm_start_use_up_no_space(open_ledger: Callable) -> None:
    space = {"model.l_cycles": {"choice": [1, 2, 4]}}
    run_all(open_ledger(sections(space, num_trials=3) | {"name": "other"}))
    ledger = open_ledger(sections(space, num_trials=3, warm_start=["other"]))
    assert len(run_all(ledger)) == 3 and ledger.queue.shortfall is None


def test_a_result_that_another_driver_wrote_replaces_a_failure_in_the_study(open_ledger: Callable) -> None:
    spec = sections({"optim.lr": LR})
    first = open_ledger(spec)
    failed = fail(first)
    completed = record_of(stored_trial(first, failed), nll=0.25)
    first.store.write_result(failed, json.dumps(completed | {"curves": []}))
    assert counted(open_ledger(spec)) == {failed: 0.25}


def test_a_lost_trial_outside_the_space_keeps_its_result(open_ledger: Callable) -> None:
    first = open_ledger(sections({"model.hidden_size": {"choice": [16]}, "optim.lr": LR}))
    lost = first.ask().fingerprint
    first.end(lost, Lost("its process was lost"))
    second = open_ledger(sections({"model.hidden_size": {"choice": [24]}, "optim.lr": LR}))
    assert lost not in second.results and second.store.results()[lost]["outcome"] == "failed"


def test_a_copy_beside_its_original_is_refused_and_a_moved_store_is_not(open_ledger: Callable, tmp_path: Path, team: str) -> None:
    spec = sections({"optim.lr": LR})
    run_all(open_ledger(spec))
    shutil.copytree(tmp_path / "runs/tiny", tmp_path / "original")
    shutil.rmtree(tmp_path / "runs/tiny")
    study = optuna.load_study(study_name=optuna.get_all_study_names(team)[0], storage=team)
    assert study.user_attrs["location"] == str(tmp_path / "runs/tiny")
    study.set_user_attr("location", str(tmp_path / "original"))
    shutil.copytree(tmp_path / "original", tmp_path / "runs/tiny")
    with pytest.raises(UserError, match=r"runs/tiny: is a copy of .*/original: give one of them another name: name=NEW"):
        open_ledger(spec)
    shutil.rmtree(tmp_path / "original")
    assert open_ledger(spec).finished
