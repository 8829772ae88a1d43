"""An experiment holds one sweep: another one of its name, and a copy of it, are refused before anything is spent."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from rrm.errors import UserError
from sweeps.driver.ledger import Ledger
from sweeps.spec.load_spec import load_spec
from sweeps.store.store import Store
from sweeps.tracking.trackers import find_tracker
from tests.sweeps.tracking.test_catching_up import (
    assert_all_there_once,
    deliver,
    find_runs,
    give_up_soon,
    run_trials,
    small_sections,
)

Typed = Callable[..., Any]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database for several storages."""
    uri = f"sqlite:///{tmp_path}/server.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(tmp_path)
    return uri


@pytest.fixture
def original(open_ledger: Callable, tmp_path: Path) -> Ledger:
    """A finished sweep in `runs`, as MLflow has received it."""
    ledger: Ledger = open_ledger(small_sections())
    run_trials(ledger)
    deliver(ledger)
    return ledger


@pytest.fixture
def assert_run_is_refused(typed: Typed, write_spec: Callable, tmp_path: Path) -> Callable[[str, str], None]:
    """Types `rrm-sweep run` with another storage; it is refused in a line with two texts, and makes nothing."""

    def refused(storage: str, *texts: str) -> None:
        before = sorted(tmp_path.rglob("*"))
        ended = typed("run", str(write_spec(small_sections())), "--storage", storage)
        assert ended.returncode == 2 and ended.stderr.count("\n") == 1 and not ended.stdout, ended.stdout + ended.stderr
        for text in texts:
            assert text in ended.stderr
        made = set(tmp_path.rglob("*")) - set(before)
        assert {path.name for path in made} <= {"sweep.yaml"}, made

    return refused


def test_a_store_that_was_removed_is_not_begun_anew_beside_its_old_runs(
    original: Ledger, assert_run_is_refused: Callable, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "runs/tiny")
    taken = "name: is taken: MLflow's experiment 'tiny' (ID 1) holds another sweep of that name"
    assert_run_is_refused("runs", taken, "name=NEW", "mlflow experiments rename --experiment-id 1")


def test_one_name_in_two_storages_on_one_server_is_refused(
    server: str, original: Ledger, assert_run_is_refused: Callable, tmp_path: Path
) -> None:
    assert_run_is_refused("second", f"holds another sweep of that name at {tmp_path}/runs/tiny", "name=NEW")


def test_a_copy_is_refused_while_its_original_is_there(
    server: str, original: Ledger, assert_run_is_refused: Callable, tmp_path: Path
) -> None:
    shutil.copytree(tmp_path / "runs/tiny", tmp_path / "copy/tiny")
    assert_run_is_refused("copy", f"holds the sweep at {tmp_path}/runs/tiny, of which {tmp_path}/copy/tiny is a copy", "name=NEW")


def test_a_fresh_store_is_refused_also_where_the_experiment_of_its_name_is_deleted(
    original: Ledger, assert_run_is_refused: Callable, tmp_path: Path
) -> None:
    MlflowClient(original.tracker.delivery.tracker.address).delete_experiment("1")
    shutil.rmtree(tmp_path / "runs/tiny")
    assert_run_is_refused("runs", "(ID 1), which is deleted, holds another sweep", "name=NEW", "mlflow gc --experiment-ids 1")


def check(write_spec: Callable, storage: Path) -> None:
    """What `run` asks before it makes a store."""
    spec = load_spec(write_spec(small_sections() | {"storage": str(storage)}))
    store = Store(spec.location)
    find_tracker(spec).check(spec, store)


def test_a_local_database_that_takes_longer_than_a_server_may_is_waited_for(
    original: Ledger, write_spec: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.tracking.mlflow.tracker.CHECK_SECONDS", 0.0)
    shutil.rmtree(tmp_path / "runs/tiny")
    with pytest.raises(UserError, match="holds another sweep of that name"):
        check(write_spec, tmp_path / "runs")


def test_a_moved_store_is_the_same_sweep_and_tells_its_new_place(
    server: str, original: Ledger, open_ledger: Callable, write_spec: Callable, tmp_path: Path
) -> None:
    shutil.move(tmp_path / "runs", tmp_path / "moved")
    check(write_spec, tmp_path / "moved")
    (tmp_path / "runs").symlink_to(tmp_path / "moved")
    moved = open_ledger(small_sections())
    deliver(moved)
    assert_all_there_once(moved)
    experiment = MlflowClient(server).get_experiment_by_name("tiny")
    assert experiment is not None and experiment.tags["rrm.location"] == str(tmp_path / "moved/tiny")
    assert experiment.tags["rrm.identity"] == Store(tmp_path / "moved/tiny").identity()


def test_a_store_that_is_seen_under_two_paths_is_no_copy(
    server: str, original: Ledger, write_spec: Callable, tmp_path: Path
) -> None:
    """As two mounts of one file system show it; here by a tag with a path through a link."""
    (tmp_path / "mount").symlink_to(tmp_path / "runs")
    MlflowClient(server).set_experiment_tag("1", "rrm.location", str(tmp_path / "mount/tiny"))
    check(write_spec, tmp_path / "runs")


def test_an_experiment_of_somebody_else_without_a_sweep_in_it_is_used(
    server: str, open_ledger: Callable, write_spec: Callable, tmp_path: Path
) -> None:
    client = MlflowClient(server)
    number = client.create_experiment("tiny", (tmp_path / "artifacts").as_uri())
    client.create_run(number)
    check(write_spec, tmp_path / "runs")
    ledger = open_ledger(small_sections())
    deliver(ledger)
    assert client.get_experiment(number).tags["rrm.location"] == ledger.store.location


def test_a_sweep_that_met_another_one_late_does_not_mix_with_it(
    original: Ledger, open_ledger: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server did not answer before the run."""
    shutil.rmtree(tmp_path / "runs/tiny")
    second = open_ledger(small_sections())
    give_up_soon(second, monkeypatch)
    run_trials(second)
    second.close()
    second.tracker.delivery.start()
    assert not second.tracker.delivery.close()
    assert "holds another sweep of that name" in (second.tracker.delivery.problem or "")
    assert len(find_runs(second.tracker.delivery.tracker.address)[1]) == 3


def test_a_store_of_an_earlier_version_adopts_the_experiment_of_its_trials_and_no_other_one(
    original: Ledger, open_ledger: Callable, write_spec: Callable, assert_run_is_refused: Callable, tmp_path: Path
) -> None:
    forget_identity(tmp_path)
    check(write_spec, tmp_path / "runs")
    adopted = open_ledger(small_sections())
    deliver(adopted)
    assert_all_there_once(adopted)
    experiment = MlflowClient(adopted.tracker.delivery.tracker.address).get_experiment_by_name("tiny")
    assert experiment is not None and experiment.tags["rrm.identity"] == adopted.store.identity()

    forget_identity(tmp_path)
    shutil.rmtree(tmp_path / "runs/tiny")
    assert_run_is_refused("runs", "holds another sweep of that name", "name=NEW")


def test_a_store_of_an_earlier_version_adopts_its_experiment_also_when_the_server_was_away_at_first(
    original: Ledger, open_ledger: Callable, tmp_path: Path
) -> None:
    forget_identity(tmp_path)
    identity = open_ledger(small_sections()).store.identity()  # a driver that reached no server
    ledger = open_ledger(small_sections())
    deliver(ledger)
    assert_all_there_once(ledger)
    experiment = MlflowClient(ledger.tracker.delivery.tracker.address).get_experiment_by_name("tiny")
    assert experiment is not None and experiment.tags["rrm.identity"] == identity


def forget_identity(tmp_path: Path) -> None:
    """What commit e399d62 leaves: no identity, one position of the spool for all servers, no tags of ours at the experiment."""
    folder = tmp_path / "runs/tiny"
    (folder / "identity.json").unlink()
    (folder / "spool/store").unlink()
    shutil.rmtree(folder / "spool/servers")
    (folder / "spool/cursor").write_text(str((folder / "spool/events.jsonl").stat().st_size))
    with sqlite3.connect(tmp_path / "runs/mlflow.db") as database:
        database.execute("DELETE FROM experiment_tags WHERE key LIKE 'rrm.%'")
