"""The study is told the truth."""

from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from rrm.errors import UserError
from sweeps.driver.study import Study
from sweeps.driver.study_database import database_id, open_storage
from sweeps.spec.sweep import SweepSpec, load_spec
from tests.sweeps.conftest import load_study, search_sections


@pytest.fixture
def spec(write_spec: Callable) -> SweepSpec:
    return load_spec(write_spec(search_sections()))


def trials(tmp_path: Path) -> list[optuna.trial.FrozenTrial]:
    return load_study(tmp_path).trials


def test_completed_pruned_and_failed_are_three_states(spec: SweepSpec, tmp_path: Path) -> None:
    study = Study(spec, tmp_path / "study.db")
    fingerprints = [study.ask().fingerprint for _ in range(3)]  # type: ignore[union-attr]
    study.report(fingerprints[1], 4, 0.7)
    study.tell(fingerprints[0], {"outcome": "completed", "val/nll": 0.5})
    study.tell(fingerprints[1], {"outcome": "pruned", "val/nll": 0.7})
    study.tell(fingerprints[2], {"outcome": "failed", "reason": "it is nan"})
    found = trials(tmp_path)
    assert [trial.state for trial in found] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]
    assert found[0].values == [0.5] and found[1].intermediate_values == {4: 0.7}
    assert found[2].user_attrs["reason"] == "it is nan"


def test_told_twice_is_told_once(spec: SweepSpec, tmp_path: Path) -> None:
    study = Study(spec, tmp_path / "study.db")
    fingerprint = study.ask().fingerprint  # type: ignore[union-attr]
    study.tell(fingerprint, {"outcome": "completed", "val/nll": 0.5})
    study.tell(fingerprint, {"outcome": "failed", "reason": "later"})
    assert [trial.values for trial in trials(tmp_path)] == [[0.5]]


def test_a_restart_knows_what_was_running_and_proposes_other_points(spec: SweepSpec, tmp_path: Path) -> None:
    first = Study(spec, tmp_path / "study.db")
    asked = {config.fingerprint: config for config in (first.ask() for _ in range(2)) if config}
    second = Study(spec, tmp_path / "study.db")
    assert second.reconcile({}, asked) == list(asked)
    assert second.ask().fingerprint not in asked  # type: ignore[union-attr]


def test_a_trial_killed_between_proposal_and_start_is_failed(spec: SweepSpec, tmp_path: Path) -> None:
    study = Study(spec, tmp_path / "study.db")
    load_study(tmp_path).ask()
    assert Study(spec, tmp_path / "study.db").reconcile({}, {}) == []
    assert [trial.state for trial in trials(tmp_path)] == [TrialState.FAIL]
    assert study.ask() is not None


def test_no_config_is_proposed_twice_and_a_used_up_space_ends(write_spec: Callable, tmp_path: Path) -> None:
    sections = search_sections()
    sections["search"]["space"] = {"model.hidden_size": {"choice": [16, 24]}}
    study = Study(load_spec(write_spec(sections)), tmp_path / "study.db")
    proposed = [study.ask() for _ in range(3)]
    assert {config.model.hidden_size for config in proposed[:2] if config} == {16, 24}
    assert proposed[2] is None and study.is_full


def test_several_objectives_are_told_together(write_spec: Callable, tmp_path: Path) -> None:
    sections = search_sections()
    sections["search"]["objectives"].append({"metric": "inference_flops", "goal": "minimize"})
    study = Study(load_spec(write_spec(sections)), tmp_path / "study.db")
    fingerprint = study.ask().fingerprint  # type: ignore[union-attr]
    study.report(fingerprint, 4, 0.7)  # not kept: Optuna takes no intermediate values here
    study.tell(fingerprint, {"outcome": "completed", "val/nll": 0.5, "inference_flops": 2e6})
    assert trials(tmp_path)[0].values == [0.5, 2e6]


def test_a_lost_study_is_rebuilt_from_the_results(spec: SweepSpec, tmp_path: Path) -> None:
    first = Study(spec, tmp_path / "lost.db")
    config, other = first.ask(), first.ask()
    assert config is not None and other is not None
    record = {**config.flat(), "outcome": "completed", "val/nll": 0.5}
    second = Study(spec, tmp_path / "study.db")
    pruned = {**other.flat(), "outcome": "pruned"}
    assert second.reconcile({config.fingerprint: record, other.fingerprint: pruned}, {}) == []
    assert second.fingerprints() == [config.fingerprint, other.fingerprint]
    found = trials(tmp_path)
    assert [trial.state for trial in found] == [TrialState.COMPLETE, TrialState.PRUNED]
    assert found[0].values == [0.5] and found[0].params["optim.lr"] == config.optim.lr


def test_a_team_keeps_its_studies_in_a_database_of_its_own(
    spec: SweepSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RRM_STUDY_URL", f"sqlite:///{tmp_path / 'team.db'}")
    Study(spec, tmp_path / "study.db").ask()
    assert not (tmp_path / "study.db").exists()
    assert len(optuna.load_study(study_name="tiny@#1", storage=f"sqlite:///{tmp_path / 'team.db'}").trials) == 1


@pytest.mark.parametrize("url", ["no url", "nosuchsql://db/studies", "sqlite:////nowhere/at/all.db"])
def test_a_database_that_cannot_be_used_is_one_line(
    spec: SweepSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("RRM_STUDY_URL", url)
    with pytest.raises(UserError, match="RRM_STUDY_URL: names no database that can be used") as refused:
        Study(spec, tmp_path / "study.db")
    assert "\n" not in str(refused.value)


def test_a_database_in_the_home_folder_is_found(spec: SweepSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RRM_STUDY_URL", "sqlite:///~/team.db")
    Study(spec, tmp_path / "study.db")
    assert (tmp_path / "team.db").exists()


def test_the_private_names_of_optuna_exist(tmp_path: Path) -> None:
    study = optuna.create_study(storage=open_storage(tmp_path / "study.db"))
    trial = study.ask()
    assert trial._suggest("x", FloatDistribution(0, 1)) == trial.params["x"]
    assert database_id(trial) == database_id(study.trials[0]) == trial.storage.get_all_trials(database_id(study))[0]._trial_id
