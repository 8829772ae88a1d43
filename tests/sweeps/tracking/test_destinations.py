"""A spool reaches every server and experiment whole and once, and never the experiment of another sweep."""

import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from rrm.errors import UserError
from sweeps.cli.status import read_status
from sweeps.driver.ledger import Ledger
from sweeps.store.store import IDENTITY as IDENTITY_FILE
from sweeps.store.store import Store
from sweeps.tracking import delivery
from sweeps.tracking.delivery import check_destination
from sweeps.tracking.destination import find_destination
from sweeps.tracking.mlflow import CURVES, FINGERPRINT, IDENTITY, LOCATION, SWEEP
from sweeps.tracking.mlflow.reader import read_item_files, read_runs
from sweeps.tracking.spool import SPOOL
from tests.sweeps.conftest import Sections, call_in_child, ending, measure_sections
from tests.sweeps.driver.test_traps import row

STEPS = (4, 8, 12)


def small_sections(name: str = "tiny") -> Sections:
    """A measure sweep of two trials."""
    sections = measure_sections() | {"name": name, "tracking": {"models": 0}}
    sections["measure"]["vary"] = {"model.l_cycles": [1, 2]}
    return sections


def run_trials(ledger: Ledger) -> None:
    """The missing trials, with three rows and a file each."""
    while (config := ledger.ask()) is not None:
        for step in STEPS:
            ledger.row(config.fingerprint, row(step, 1.0 / step))
        ledger.store.backend.write(f"trials/{config.fingerprint}/items.parquet", b"items")
        ledger.end(config.fingerprint, ending(config, data_fingerprint="d1"))


def deliver(ledger: Ledger) -> None:
    ledger.close()
    ledger.tracker.delivery.start()
    assert ledger.tracker.delivery.close(), ledger.tracker.delivery.problem
    assert not ledger.tracker.spool.progress.aside


@pytest.fixture
def delivered(open_ledger: Callable) -> Ledger:
    """A finished sweep that the database beside it has received."""
    ledger: Ledger = open_ledger(small_sections())
    run_trials(ledger)
    deliver(ledger)
    return ledger


def find_runs(uri: str, name: str = "tiny") -> tuple[MlflowClient, list[Run]]:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    return client, client.search_runs([experiment.experiment_id])


def assert_all_there_once(ledger: Ledger, name: str = "tiny") -> None:
    """The destination has the sweep's run and each trial's, with every point, status and file, once."""
    uri = ledger.tracker.delivery.uri
    client, runs = find_runs(uri, name)
    (parent,) = [run for run in runs if SWEEP in run.data.tags]
    assert parent.info.status == "FINISHED"
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} >= {"spec.yaml", CURVES}
    children = [run for run in runs if FINGERPRINT in run.data.tags]
    assert Counter(run.data.tags[FINGERPRINT] for run in children) == Counter(ledger.results.keys())
    for run in children:
        assert run.info.status == "FINISHED" and run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        points = client.get_metric_history(run.info.run_id, "val_curve/nll")
        assert [(point.step, point.value) for point in points] == [(step, 1.0 / step) for step in STEPS]
        assert len(client.get_metric_history(run.info.run_id, "test/nll")) == 1
        assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"trial.yaml", "items.parquet"}
    assert read_status(ledger.store.location).tracking == []


# -- another server ---------------------------------------------------------------------------------------------------


def test_another_tracking_uri_receives_everything_and_the_first_one_nothing_twice(
    delivered: Ledger, open_ledger: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'second.db'}")
    monkeypatch.chdir(tmp_path)
    second = open_ledger(small_sections())
    deliver(second)
    assert_all_there_once(second)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    first = open_ledger(small_sections())
    deliver(first)
    assert_all_there_once(first)


def test_a_relative_database_is_another_one_in_another_folder(
    delivered: Ledger, open_ledger: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///own.db")
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        ledger = open_ledger(small_sections())
        deliver(ledger)
        assert ledger.tracker.delivery.uri == f"sqlite:///{tmp_path / folder / 'own.db'}"
        assert_all_there_once(ledger)


def test_a_database_that_was_removed_receives_everything_again(open_ledger: Callable, tmp_path: Path) -> None:
    """In processes of their own: MLflow keeps a removed database open."""

    def run() -> int:
        ledger = open_ledger(small_sections())
        run_trials(ledger)
        deliver(ledger)
        assert_all_there_once(ledger)
        return 0

    for _ in range(2):
        ended = call_in_child(run, tmp_path)
        assert ended.returncode == 0, ended.stderr
        (tmp_path / "runs/mlflow.db").unlink()


def test_a_moved_sweep_folder_reaches_the_database_beside_it(open_ledger: Callable, tmp_path: Path) -> None:
    """In processes of their own: the second database has the path of the first one."""

    def run() -> int:
        ledger = open_ledger(small_sections())
        run_trials(ledger)
        deliver(ledger)
        assert_all_there_once(ledger)
        return 0

    assert call_in_child(run, tmp_path).returncode == 0
    (tmp_path / "runs").rename(tmp_path / "old")
    (tmp_path / "runs").mkdir()
    (tmp_path / "old/tiny").rename(tmp_path / "runs/tiny")
    ended = call_in_child(run, tmp_path)
    assert ended.returncode == 0, ended.stderr


def test_a_sweep_under_a_new_name_has_an_experiment_of_its_own(delivered: Ledger, open_ledger: Callable, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "runs/tiny", tmp_path / "runs/other")
    renamed = open_ledger(small_sections("other"))
    deliver(renamed)
    assert_all_there_once(renamed, "other")
    assert_all_there_once(delivered)
    assert {
        run.data.tags["sweep"] for run in find_runs(renamed.tracker.delivery.uri, "other")[1] if FINGERPRINT in run.data.tags
    } == {"other"}


def test_rows_of_a_resumed_trial_arrive_also_when_the_spool_was_lost(open_ledger: Callable, tmp_path: Path) -> None:
    ledger = open_ledger(small_sections())
    for _ in range(2):
        config = ledger.ask()
        for step in STEPS[:2]:
            ledger.row(config.fingerprint, row(step, 1.0 / step))
    shutil.rmtree(tmp_path / "runs/tiny" / SPOOL)
    resumed = open_ledger(small_sections())
    while (config := resumed.ask()) is not None:
        resumed.row(config.fingerprint, row(12, 1.0 / 12))
        resumed.store.backend.write(f"trials/{config.fingerprint}/items.parquet", b"items")
        resumed.end(config.fingerprint, ending(config))
    deliver(resumed)
    assert_all_there_once(resumed)


# -- what was deleted -------------------------------------------------------------------------------------------------


def test_what_is_sent_while_the_experiment_is_deleted_arrives_after_its_restore(
    open_ledger: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "UNREACHABLE_SECONDS", 0.5)
    ledger = open_ledger(small_sections())
    ledger.tracker.delivery.connect()
    ledger.tracker.delivery.deliver()
    client = MlflowClient(ledger.tracker.delivery.uri)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    run_trials(ledger)
    ledger.close()
    ledger.tracker.delivery.start()
    assert not ledger.tracker.delivery.close()
    problem = ledger.tracker.delivery.problem or ""
    assert "experiment 'tiny' (ID 1) is deleted" in problem.replace(":", "")
    assert problem.endswith(f"mlflow experiments restore --experiment-id {experiment.experiment_id}")
    assert f"MLFLOW_TRACKING_URI={ledger.tracker.delivery.uri} " in problem

    client.restore_experiment(experiment.experiment_id)
    again = open_ledger(small_sections())
    deliver(again)
    assert_all_there_once(again)


@pytest.mark.parametrize("tag", [FINGERPRINT, SWEEP], ids=["child", "parent"])
@pytest.mark.parametrize("when", ["between two drivers", "under a driver"])
def test_a_deleted_run_is_made_anew_with_all_that_it_had(open_ledger: Callable, tag: str, when: str) -> None:
    ledger = open_ledger(small_sections())
    config = ledger.ask()
    ledger.row(config.fingerprint, row(STEPS[0], 1.0 / STEPS[0]))
    ledger.tracker.delivery.connect()
    ledger.tracker.delivery.deliver()
    client, runs = find_runs(ledger.tracker.delivery.uri)
    for run in runs:
        if tag in run.data.tags:
            client.delete_run(run.info.run_id)
    for step in STEPS[1:]:
        ledger.row(config.fingerprint, row(step, 1.0 / step))
    ledger.store.backend.write(f"trials/{config.fingerprint}/items.parquet", b"items")
    ledger.end(config.fingerprint, ending(config, data_fingerprint="d1"))
    run_trials(ledger)
    if when == "under a driver":
        ledger.close()
        ledger.tracker.delivery.deliver()
    else:
        deliver(ledger)
    assert_all_there_once(ledger)


# -- a trial that ran twice -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_delivered_between", [True, False])
@pytest.mark.parametrize("outcome", ["failed", "completed"])
def test_of_a_trial_that_ran_twice_mlflow_has_the_last_attempt(
    open_ledger: Callable, tmp_path: Path, outcome: str, is_delivered_between: bool
) -> None:
    ledger = open_ledger(small_sections())
    first = ledger.ask()
    for step in STEPS:
        ledger.row(first.fingerprint, row(step, 9.0))
    ledger.end(first.fingerprint, ending(first, outcome="failed", reason="the first attempt"))
    if is_delivered_between:
        deliver(ledger)
    shutil.rmtree(tmp_path / "runs/tiny/trials" / first.fingerprint)

    again = open_ledger(small_sections())
    assert again.ask() == first
    again.row(first.fingerprint, row(STEPS[0], 1.0))
    changes = {"outcome": "failed", "reason": "the second attempt"} if outcome == "failed" else {}
    again.end(first.fingerprint, ending(first, **changes))
    run_trials(again)
    deliver(again)
    for ledger in (again, open_ledger(small_sections())):  # also when the next driver offers all that it has
        deliver(ledger)
        client, runs = find_runs(ledger.tracker.delivery.uri)
        (run,) = [run for run in runs if run.data.tags.get(FINGERPRINT) == first.fingerprint]
        assert run.info.status == {"failed": "FAILED", "completed": "FINISHED"}[outcome]
        assert run.data.tags["outcome"] == outcome and run.data.tags.get("reason") == changes.get("reason")
        points = client.get_metric_history(run.info.run_id, "val_curve/nll")
        assert [(point.step, point.value) for point in points] == [(STEPS[0], 1.0)]
    found = read_runs(again.tracker.delivery.uri, "tiny")
    assert found is not None and len(found.records) == 2
    curves = [point for point in found.curves.to_pylist() if point["fingerprint"] == first.fingerprint]
    assert {point["value"] for point in curves if point["metric"] == "val_curve/nll"} == {1.0}


@pytest.mark.parametrize("is_delivered_between", [True, False])
def test_a_lost_trial_that_goes_on_and_completes_keeps_its_curve_and_no_reason(
    open_ledger: Callable, is_delivered_between: bool
) -> None:
    ledger = open_ledger(small_sections())
    config = ledger.ask()
    ledger.row(config.fingerprint, row(STEPS[0], 1.0 / STEPS[0]))
    ledger.lose(config.fingerprint, "its node was lost", losses=1)
    if is_delivered_between:
        deliver(ledger)
    again = open_ledger(small_sections())
    assert again.ask() == config
    for step in STEPS[1:]:
        again.row(config.fingerprint, row(step, 1.0 / step))
    again.store.backend.write(f"trials/{config.fingerprint}/items.parquet", b"items")
    again.end(config.fingerprint, ending(config))
    run_trials(again)
    deliver(again)
    assert_all_there_once(again)
    (run,) = [run for run in find_runs(again.tracker.delivery.uri)[1] if run.data.tags.get(FINGERPRINT) == config.fingerprint]
    assert "reason" not in run.data.tags and run.data.tags["outcome"] == "completed"


# -- another sweep of the same name -----------------------------------------------------------------------------------


def check(ledger_sections: Sections, tmp_path: Path, storage: str, write_spec: Callable) -> None:
    """What `run` asks before it makes a store."""
    from sweeps.spec.sweep import load_spec

    spec = load_spec(write_spec(ledger_sections | {"storage": str(tmp_path / storage)}))
    store = Store(spec.location)
    check_destination(find_destination(spec, store, store.driver_folder / SPOOL))


def test_a_store_that_was_removed_and_begun_anew_is_refused_and_nothing_is_made(
    delivered: Ledger, write_spec: Callable, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "runs/tiny")
    with pytest.raises(UserError, match=r"name: is taken: .*'tiny' \(ID 1\) holds another sweep of that name.*name=NEW"):
        check(small_sections(), tmp_path, "runs", write_spec)
    assert not (tmp_path / "runs/tiny").exists()


def test_a_second_storage_on_one_server_is_refused_and_a_new_name_is_not(
    open_ledger: Callable, write_spec: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'server.db'}")
    monkeypatch.chdir(tmp_path)
    deliver(open_ledger(small_sections()))
    with pytest.raises(UserError, match=f"at {tmp_path}/runs/tiny.*name=NEW"):
        check(small_sections(), tmp_path, "second", write_spec)
    check(small_sections("other"), tmp_path, "second", write_spec)
    check(small_sections(), tmp_path, "runs", write_spec)


def test_a_copy_is_refused_while_its_original_is_there_and_is_the_sweep_when_it_is_not(
    open_ledger: Callable, write_spec: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{tmp_path / 'server.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(tmp_path)
    ledger = open_ledger(small_sections())
    run_trials(ledger)
    deliver(ledger)
    shutil.copytree(tmp_path / "runs/tiny", tmp_path / "copy/tiny")
    with pytest.raises(UserError, match=f"{tmp_path}/copy/tiny is a copy.*name=NEW"):
        check(small_sections(), tmp_path, "copy", write_spec)
    (tmp_path / "linked").symlink_to(tmp_path / "runs")
    check(small_sections(), tmp_path, "linked", write_spec)
    shutil.move(tmp_path / "runs", tmp_path / "gone")
    check(small_sections(), tmp_path, "copy", write_spec)
    shutil.move(tmp_path / "copy", tmp_path / "runs")
    shutil.move(tmp_path / "runs", tmp_path / "moved")
    (tmp_path / "runs").symlink_to(tmp_path / "moved")
    deliver(open_ledger(small_sections()))
    experiment = MlflowClient(uri).get_experiment_by_name("tiny")
    assert experiment is not None
    assert experiment.tags[LOCATION] == str(tmp_path / "moved/tiny")
    assert experiment.tags[IDENTITY] == Store(tmp_path / "moved/tiny").identity()


def test_a_sweep_that_met_another_one_late_does_not_mix_with_it(
    open_ledger: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server did not answer before the run."""
    monkeypatch.setattr(delivery, "UNREACHABLE_SECONDS", 0.5)
    first = open_ledger(small_sections())
    run_trials(first)
    deliver(first)
    shutil.rmtree(tmp_path / "runs/tiny")
    second = open_ledger(small_sections())
    run_trials(second)
    second.close()
    second.tracker.delivery.start()
    assert not second.tracker.delivery.close()
    assert "holds another sweep of that name" in (second.tracker.delivery.problem or "")
    assert len(find_runs(second.tracker.delivery.uri)[1]) == 3


def test_a_store_without_identity_adopts_the_experiment_of_its_trials_and_no_other_one(
    delivered: Ledger, open_ledger: Callable, write_spec: Callable, tmp_path: Path
) -> None:
    """As commit e399d62 left it: no identity, one position for all servers, no tags of the experiment."""
    forget_identity(tmp_path)
    check(small_sections(), tmp_path, "runs", write_spec)
    adopted = open_ledger(small_sections())
    deliver(adopted)
    assert_all_there_once(adopted)
    experiment = MlflowClient(adopted.tracker.delivery.uri).get_experiment_by_name("tiny")
    assert experiment is not None and experiment.tags[IDENTITY] == adopted.store.identity()

    forget_identity(tmp_path)
    shutil.rmtree(tmp_path / "runs/tiny")
    with pytest.raises(UserError, match="holds another sweep"):
        check(small_sections(), tmp_path, "runs", write_spec)


def forget_identity(tmp_path: Path) -> None:
    (tmp_path / "runs/tiny" / IDENTITY_FILE).unlink()
    shutil.rmtree(tmp_path / "runs/tiny" / SPOOL / "servers")
    with sqlite3.connect(tmp_path / "runs/mlflow.db") as database:
        database.execute("DELETE FROM experiment_tags WHERE key LIKE 'rrm.%'")


def test_artifacts_of_a_moved_storage_are_read_and_written_in_its_new_place(open_ledger: Callable, tmp_path: Path) -> None:
    def run(seeds: int) -> int:
        sections = small_sections()
        sections["measure"]["seeds"] = seeds
        ledger = open_ledger(sections)
        run_trials(ledger)
        deliver(ledger)
        assert_all_there_once(ledger)
        assert len(list(read_item_files(ledger.tracker.delivery.uri, "tiny"))) == 2 * seeds
        return 0

    (tmp_path / "first").mkdir()
    (tmp_path / "runs").symlink_to(tmp_path / "first")  # in whose place the store and MLflow see the folder itself
    ended = call_in_child(lambda: run(1), tmp_path)
    assert ended.returncode == 0, ended.stderr
    (tmp_path / "first").rename(tmp_path / "moved")
    (tmp_path / "runs").unlink()
    (tmp_path / "runs").symlink_to(tmp_path / "moved")
    before = {path for path in (tmp_path / "moved/mlartifacts").rglob("*") if path.is_file()}
    ended = call_in_child(lambda: run(2), tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert {path for path in (tmp_path / "moved/mlartifacts").rglob("*") if path.is_file()} > before
