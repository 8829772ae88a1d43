"""MLflow gets what it lacks of a sweep from the store alone, for those who look at it."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient

from lightning_modules.columns import DESCRIBED
from lightning_modules.record import describe
from rrm.errors import UserError
from sweeps.driver.ledger import Ledger
from sweeps.store.store import Store
from sweeps.tracking.backfill import filled_destination
from sweeps.tracking.events import TrialBegun
from sweeps.tracking.mlflow import FINGERPRINT, IDENTITY
from tests.conftest import ROOT, tiny_trial
from tests.sweeps.conftest import ending
from tests.sweeps.driver.test_traps import row
from tests.sweeps.tracking.test_catching_up import find_runs, run_trials, small_sections

OLD_STORE = ROOT / "tests/fixtures/stores_e399d62/measure"


@pytest.fixture
def finished(open_ledger: Callable) -> Ledger:
    """A finished sweep, of which no server has received anything."""
    ledger: Ledger = open_ledger(small_sections())
    run_trials(ledger)
    ledger.close()
    return ledger


@pytest.fixture
def theirs(finished: Ledger, tmp_path: Path) -> Store:
    """A copy of its folder, without a database beside it."""
    folder = tmp_path / "mine/tiny"
    shutil.copytree(finished.store.location, folder)
    return Store(folder)


def contents(folder: str) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in Path(folder).rglob("*") if file.is_file()}


def shown(store: Store) -> tuple[str, list[str]]:
    """The URI where MLflow holds a sweep, and what was printed."""
    said: list[str] = []
    with filled_destination(store, said.append) as destination:
        return destination.uri, said


def test_a_folder_from_elsewhere_is_in_mlflow_and_is_not_written(theirs: Store, finished: Ledger) -> None:
    before = contents(theirs.location)
    uri, said = shown(theirs)
    assert said[0].endswith("it lacks 2 of 2 finished trials ...") and said[-1].strip() == "100 % sent"
    assert contents(theirs.location) == before
    _, runs = find_runs(uri)
    children = {run.data.tags[FINGERPRINT]: run for run in runs if FINGERPRINT in run.data.tags}
    assert children.keys() == finished.results.keys() and {run.info.status for run in runs} == {"FINISHED"}
    starts = {event.fingerprint: event.time for event in finished.tracker.spool.events() if isinstance(event, TrialBegun)}
    assert {name: run.info.start_time for name, run in children.items()} == starts
    assert shown(theirs)[1] == []
    assert {run.info.run_id for run in find_runs(uri)[1]} == {run.info.run_id for run in runs}


def test_without_its_spool_the_records_are_what_mlflow_gets(theirs: Store, finished: Ledger) -> None:
    shutil.rmtree(Path(theirs.location) / "spool")
    uri, _ = shown(theirs)
    client, runs = find_runs(uri)
    (parent,) = [run for run in runs if FINGERPRINT not in run.data.tags]
    assert not any("git" in name or name == "host" for name in parent.data.tags)  # those of this machine are not its own
    for run in (run for run in runs if FINGERPRINT in run.data.tags):
        record = finished.results[run.data.tags[FINGERPRINT]]
        assert run.info.status == "FINISHED" and run.data.metrics["test/nll"] == record["test/nll"]
        assert run.data.metrics["params"] == record["params"] and run.data.params["seed"] == "0"
        assert run.data.tags["outcome"] == "completed"
        assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"trial.yaml", "items.parquet"}


def test_columns_that_follow_from_a_trial_are_known_without_its_data() -> None:
    config = tiny_trial()
    assert set(describe(config)) == {*config.flat(), *DESCRIBED}


def test_a_store_of_an_earlier_version_is_shown(tmp_path: Path) -> None:
    shutil.copytree(OLD_STORE, tmp_path / "runs/measure")
    store = Store(tmp_path / "runs/measure")
    before = contents(store.location)
    uri, _ = shown(store)
    fingerprints = {run.data.tags.get(FINGERPRINT) for run in find_runs(uri, "measure")[1]}
    assert fingerprints == store.begun() | {None} and contents(store.location) == before
    assert shown(store)[1] == []


def test_a_renamed_folder_has_an_experiment_of_its_new_name(theirs: Store) -> None:
    folder = Path(theirs.location).rename(Path(theirs.location).parent / "anna")
    uri, _ = shown(Store(folder))
    assert len(find_runs(uri, "anna")[1]) == 3


def test_another_sweep_of_that_name_is_refused_and_stays_as_it_is(theirs: Store, tmp_path: Path) -> None:
    client = MlflowClient(f"sqlite:///{tmp_path}/mine/mlflow.db")
    experiment = client.create_experiment("tiny", tags={IDENTITY: "another"})
    with pytest.raises(UserError, match=r"holds another sweep of that name.*: rename its folder, or rename that experiment"):
        shown(theirs)
    assert client.search_runs([experiment]) == []


def test_a_trial_that_ended_since_is_added_and_the_others_stay(open_ledger: Callable) -> None:
    ledger = open_ledger(small_sections())
    first = ledger.ask()
    ledger.row(first.fingerprint, row(4, 0.5))
    ledger.end(first.fingerprint, ending(first, data_fingerprint="d1"))
    uri, _ = shown(ledger.store)
    _, runs = find_runs(uri)
    assert {run.data.tags.get(FINGERPRINT) for run in runs} == {None, first.fingerprint}
    assert {run.info.status for run in runs if FINGERPRINT not in run.data.tags} == {"KILLED"}  # it goes on with the next driver
    run_trials(ledger)
    with ledger.store.locked():
        assert "sends them" in shown(ledger.store)[1][0] and len(find_runs(uri)[1]) == 2
    shown(ledger.store)
    assert len(find_runs(uri)[1]) == 3 and {run.info.run_id for run in runs} < {run.info.run_id for run in find_runs(uri)[1]}


@contextmanager
def without_rights() -> Iterator[None]:
    """As a user who owns nothing, where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_cannot_be_written_is_shown_from_a_temporary_database(theirs: Store) -> None:
    with tempfile.TemporaryDirectory() as shared:
        Path(shared).chmod(0o755)
        shutil.copytree(theirs.location, Path(shared) / "runs/tiny")
        (Path(shared) / "runs").chmod(0o555)
        said: list[str] = []
        with without_rights(), filled_destination(Store(Path(shared) / "runs/tiny"), said.append) as destination:
            assert len(find_runs(destination.uri)[1]) == 3
        assert f"{shared}/runs cannot be written" in said[0] and "temporary" in said[0]
        assert not Path(destination.uri.removeprefix("sqlite:///")).exists()
        assert {path.name for path in (Path(shared) / "runs").iterdir()} == {"tiny"}
        (Path(shared) / "runs").chmod(0o755)
