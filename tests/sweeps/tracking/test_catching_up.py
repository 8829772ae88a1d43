"""A spool reaches every server and experiment whole and once, whatever was moved, removed, deleted or run again."""

import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from lightning_modules.config import TrialConfig
from sweeps.driver.ledger import Ledger
from sweeps.tracking.mlflow import CURVES, FINGERPRINT, SWEEP
from sweeps.tracking.mlflow.reader import read_files, read_runs
from sweeps.worker.messages import Lost
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


@pytest.fixture
def delivered(open_ledger: Callable) -> Ledger:
    """A finished sweep that the database beside it has received."""
    ledger: Ledger = open_ledger(small_sections())
    run_trials(ledger)
    deliver(ledger)
    return ledger


def send_what_waits(ledger: Ledger) -> None:
    """Let the thread send, which goes on."""
    ledger.tracker.delivery.start()
    deadline = time.monotonic() + 30
    while not ledger.tracker.spool.is_empty:
        assert time.monotonic() < deadline, ledger.tracker.delivery.problem
        time.sleep(0.05)


def give_up_soon(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[type(ledger.tracker.delivery).__module__], "UNREACHABLE_SECONDS", 0.5)


def find_runs(uri: str, name: str = "tiny") -> tuple[MlflowClient, list[Run]]:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    return client, client.search_runs([experiment.experiment_id])


def assert_all_there_once(ledger: Ledger, name: str = "tiny") -> None:
    """The destination has the sweep's run and each trial's, with every point, status and file, once."""
    uri = ledger.tracker.delivery.tracker.address
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


# -- another server ---------------------------------------------------------------------------------------------------


def test_another_tracking_uri_receives_everything_and_the_first_one_nothing_twice(
    delivered: Ledger, open_ledger: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/second.db")
    monkeypatch.chdir(tmp_path)
    second = open_ledger(small_sections())
    deliver(second)
    assert_all_there_once(second)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    first = open_ledger(small_sections())
    deliver(first)
    assert_all_there_once(first)


@pytest.mark.more
def test_a_relative_database_is_another_one_in_another_folder(
    delivered: Ledger, open_ledger: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///own.db")
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        ledger = open_ledger(small_sections())
        deliver(ledger)
        assert_all_there_once(ledger)
    assert (tmp_path / "here/own.db").exists() and (tmp_path / "there/own.db").exists()


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


@pytest.mark.more
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
        run.data.tags["sweep"]
        for run in find_runs(renamed.tracker.delivery.tracker.address, "other")[1]
        if FINGERPRINT in run.data.tags
    } == {"other"}


def test_rows_of_a_resumed_trial_arrive_also_when_the_spool_was_lost(open_ledger: Callable, tmp_path: Path) -> None:
    ledger = open_ledger(small_sections())
    for _ in range(2):
        config = ledger.ask()
        for step in STEPS[:2]:
            ledger.row(config.fingerprint, row(step, 1.0 / step))
    shutil.rmtree(tmp_path / "runs/tiny" / "spool")
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
    ledger = open_ledger(small_sections())
    send_what_waits(ledger)
    client = MlflowClient(ledger.tracker.delivery.tracker.address)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    give_up_soon(ledger, monkeypatch)
    run_trials(ledger)
    ledger.close()
    assert not ledger.tracker.delivery.close()
    problem = ledger.tracker.delivery.problem or ""
    assert problem.startswith("MLflow's experiment 'tiny' (ID 1): is deleted; restore it: ")
    assert problem.endswith(
        f"MLFLOW_TRACKING_URI={ledger.tracker.delivery.tracker.address} mlflow experiments restore --experiment-id 1"
    )

    client.restore_experiment(experiment.experiment_id)
    again = open_ledger(small_sections())
    deliver(again)
    assert_all_there_once(again)


@pytest.mark.parametrize("tag", [FINGERPRINT, SWEEP], ids=["child", "parent"])
@pytest.mark.parametrize("when", ["under a driver", "between two drivers"])
def test_a_deleted_run_is_made_anew_with_all_that_it_had(open_ledger: Callable, tag: str, when: str) -> None:
    ledger = open_ledger(small_sections())
    config = ledger.ask()
    ledger.row(config.fingerprint, row(STEPS[0], 1.0 / STEPS[0]))
    send_what_waits(ledger)
    if when == "between two drivers":
        ledger.close()
        assert ledger.tracker.delivery.close()
    client, runs = find_runs(ledger.tracker.delivery.tracker.address)
    for run in runs:
        if tag in run.data.tags:
            client.delete_run(run.info.run_id)
    if when == "between two drivers":
        ledger = open_ledger(small_sections())
        assert ledger.ask() == config
    for step in STEPS[1:]:
        ledger.row(config.fingerprint, row(step, 1.0 / step))
    ledger.store.backend.write(f"trials/{config.fingerprint}/items.parquet", b"items")
    ledger.end(config.fingerprint, ending(config, data_fingerprint="d1"))
    run_trials(ledger)
    deliver(ledger)
    assert_all_there_once(ledger)


def test_a_run_that_was_deleted_after_the_end_is_made_anew_by_a_run_that_has_nothing_to_do(
    delivered: Ledger, open_ledger: Callable
) -> None:
    client, runs = find_runs(delivered.tracker.delivery.tracker.address)
    for run in runs[:2]:
        client.delete_run(run.info.run_id)
    again = open_ledger(small_sections())
    deliver(again)
    assert_all_there_once(again)


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
        client, runs = find_runs(ledger.tracker.delivery.tracker.address)
        (run,) = [run for run in runs if run.data.tags.get(FINGERPRINT) == first.fingerprint]
        assert run.info.status == {"failed": "FAILED", "completed": "FINISHED"}[outcome]
        assert run.data.tags["outcome"] == outcome and run.data.tags.get("reason") == changes.get("reason")
        points = client.get_metric_history(run.info.run_id, "val_curve/nll")
        assert [(point.step, point.value) for point in points] == [(STEPS[0], 1.0)]
    found = read_runs(again.tracker.delivery.tracker.address, "tiny")
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
    ledger.end(config.fingerprint, Lost("its node was lost", losses=1))
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
    (run,) = [
        run for run in find_runs(again.tracker.delivery.tracker.address)[1] if run.data.tags.get(FINGERPRINT) == config.fingerprint
    ]
    assert "reason" not in run.data.tags and run.data.tags["outcome"] == "completed"


# -- a storage that was moved ------------------------------------------------------------------------------------------


@pytest.mark.more
def test_artifacts_of_a_moved_storage_are_read_and_written_in_its_new_place(open_ledger: Callable, tmp_path: Path) -> None:
    def run(seeds: int) -> int:
        sections = small_sections()
        sections["measure"]["seeds"] = seeds
        ledger = open_ledger(sections)
        run_trials(ledger)
        deliver(ledger)
        assert_all_there_once(ledger)
        assert len(list(read_files(ledger.tracker.delivery.tracker.address, "tiny", "items.parquet"))) == 2 * seeds
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


# -- a store from a backup, and a spool that was deleted --------------------------------------------------------------


@pytest.mark.parametrize("rows_in_backup", [None, 1, 3], ids=["before the start", "after a row", "after all rows"])
@pytest.mark.parametrize("is_over", [True, False], ids=["over", "unfinished"])
def test_a_trial_that_a_restored_backup_repeats_has_one_run_with_each_point_once(
    open_ledger: Callable, tmp_path: Path, rows_in_backup: int | None, is_over: bool
) -> None:
    """The backup is older than what MLflow has received."""
    ledger = open_ledger(small_sections())
    if rows_in_backup:
        go_on(ledger, STEPS[:rows_in_backup], hour=0)
    deliver(ledger)
    shutil.copytree(tmp_path / "runs/tiny", tmp_path / "backup")
    ledger = open_ledger(small_sections())
    config = go_on(ledger, STEPS if is_over else STEPS[:2], hour=1)
    if is_over:
        ledger.end(config.fingerprint, ending(config))
    deliver(ledger)
    shutil.rmtree(tmp_path / "runs/tiny")
    shutil.copytree(tmp_path / "backup", tmp_path / "runs/tiny")

    again = open_ledger(small_sections())
    for _ in range(2):
        config = go_on(again, STEPS, hour=2)
        again.store.backend.write(f"trials/{config.fingerprint}/items.parquet", b"items")
        again.end(config.fingerprint, ending(config))
    deliver(again)
    assert_all_there_once(again)


def go_on(ledger: Ledger, steps: tuple[int, ...], hour: int) -> TrialConfig:
    """The next trial reports rows at some hour; those that it reported before are dropped."""
    config: TrialConfig = ledger.ask()
    for step in steps:
        ledger.row(config.fingerprint, row(step, 1.0 / step) | {"time": step + 3600 * hour})
    return config


def test_a_spool_that_was_deleted_leaves_one_run_of_each_trial_with_each_point_once(
    delivered: Ledger, open_ledger: Callable, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "runs/tiny/spool")
    for _ in range(2):
        again = open_ledger(small_sections())
        deliver(again)
    uri = again.tracker.delivery.tracker.address
    client, runs = find_runs(uri)
    children = [run for run in runs if FINGERPRINT in run.data.tags]
    assert Counter(run.data.tags[FINGERPRINT] for run in children) == Counter(again.results.keys())
    assert len([run for run in runs if SWEEP in run.data.tags]) == 1
    for run in children:
        for metric in ("params", "test/nll"):
            assert len(client.get_metric_history(run.info.run_id, metric)) == 1
