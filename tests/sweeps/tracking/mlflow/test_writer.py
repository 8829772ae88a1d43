"""Each event arrives once, whatever is sent again."""

import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from lightning_modules.outcome import Outcome
from rrm.errors import UserError
from sweeps.tracking.events import CurvesReady, Event, PointsMeasured, State, StateChanged, SweepBegun, TrialBegun, TrialEnded
from sweeps.tracking.progress import RUN

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from sweeps.tracking.mlflow import CURVES, FINGERPRINT, SWEEP
    from sweeps.tracking.mlflow.destination import Destination
    from sweeps.tracking.mlflow.reader import read_runs
    from sweeps.tracking.mlflow.writer import MlflowWriter

START = TrialBegun(
    fingerprint="abc", name="h16 seed0", time=1000, params={"model.hidden_size": 16, "seed": 0}, metrics={"params": 3810},
    tags={"outcome": "running", "matching": "steps"}, trial="seed: 0\n",
)  # fmt: skip
EVENTS: list[Event] = [
    SweepBegun(
        time=900, spec="name: tiny\n", digest="1", sweep_kind="search", tags={"host": "here", "user": "anna"}, diff="-old\n",
        axes=["model.hidden_size"], objective={"metric": "val/nll", "goal": "minimize"},
    ),
    START,
    PointsMeasured(fingerprint="abc", points=[{"metric": "val_curve/nll", "at": 4, "value": 1.5, "time": 1500}]),
    PointsMeasured(fingerprint="abc", points=[{"metric": "val_curve/nll", "at": 8, "value": 1.2, "time": 1600}]),
    TrialEnded(
        fingerprint="abc", time=2000, outcome=Outcome.COMPLETED, tags={"outcome": "completed"}, files=["items.parquet"],
        dataset={"name": "sudoku4", "digest": "d1", "source": {"kind": "sudoku"}, "profile": {"tokens": 16}},
        points=[
            {"metric": "test/nll", "at": 8, "value": 1.1, "time": 2000},
            {"metric": "depth/exact_accuracy", "at": 1, "value": 0.5, "time": 2000},
            {"metric": "depth/exact_accuracy", "at": 2, "value": 0.6, "time": 2000},
        ],
    ),
    StateChanged(state=State.FINISHED, time=2100),
    CurvesReady(num_events=3),
]  # fmt: skip


def read_file(fingerprint: str, name: str) -> bytes | None:
    """Trials left one file each."""
    return b"items" if name == "items.parquet" else None


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


def writer(uri: str, tmp_path: Path, sweep: str) -> MlflowWriter:
    destination = Destination(uri, tmp_path / "artifacts", sweep, str(tmp_path / sweep), identity="0123456789ab")
    return MlflowWriter(destination, lambda: EVENTS, read_file)


def send(door: MlflowWriter, events: list[Event]) -> None:
    """Everything of some events, of which the server refuses nothing."""
    refused, parts = door.deliver(events)
    assert not refused
    for part, event in parts.items():
        door.send_part(part, event)


def test_events_sent_twice_by_two_writers_arrive_once(uri: str, tmp_path: Path) -> None:
    for _ in range(2):
        door = writer(uri, tmp_path, "twice")
        send(door, EVENTS)
        send(door, EVENTS[1:4])
        send(door, EVENTS[4:])
    runs = door.client.search_runs([door.experiment_id])
    parents = [run for run in runs if SWEEP in run.data.tags]
    (child,) = [run for run in runs if FINGERPRINT in run.data.tags]
    assert [run.info.status for run in parents] == ["FINISHED"]
    assert parents[0].data.tags["mlflow.user"] == "anna" and child.data.tags["mlflow.source.name"] == "rrm-sweep"
    assert child.info.status == "FINISHED" and child.data.tags["mlflow.parentRunId"] == parents[0].info.run_id
    assert child.data.tags["outcome"] == "completed" and child.data.params == {"model.hidden_size": "16", "seed": "0"}
    for metric, expected in (("val_curve/nll", [(4, 1.5), (8, 1.2)]), ("depth/exact_accuracy", [(1, 0.5), (2, 0.6)])):
        history = door.client.get_metric_history(child.info.run_id, metric)
        assert [(point.step, point.value) for point in history] == expected
    assert {file.path for file in door.client.list_artifacts(child.info.run_id)} == {"trial.yaml", "items.parquet"}
    (data,) = child.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("sudoku4", "d1")
    assert {file.path for file in door.client.list_artifacts(parents[0].info.run_id)} == {"spec.yaml", "code.diff", CURVES}


def test_what_was_written_is_read_back(uri: str, tmp_path: Path) -> None:
    send(writer(uri, tmp_path, "read"), EVENTS)
    found = read_runs(uri, "read")
    assert found is not None
    (record,), curves = found.records, found.curves.to_pylist()
    assert found.kind == "search"
    assert record == {
        "fingerprint": "abc", "outcome": "completed", "model.hidden_size": 16, "seed": 0, "params": 3810, "test/nll": 1.1,
        "matching": "steps",
    }  # fmt: skip
    assert {"fingerprint": "abc", "metric": "depth/exact_accuracy", "axis": "depth", "at": 2, "value": 0.6} in curves
    assert len(curves) == 4


def test_an_experiment_that_is_not_there_is_none(uri: str) -> None:
    assert read_runs(uri, "nowhere") is None


def test_a_refused_param_keeps_nothing_else_from_arriving(uri: str, tmp_path: Path) -> None:
    door = writer(uri, tmp_path, "refused")
    send(door, EVENTS[:2])
    other = replace(START, fingerprint="def")
    refused, _ = door.deliver([replace(START, params={"model.hidden_size": 32, "more": 1}), *EVENTS[2:], other])
    assert [(aside.fingerprint, aside.part) for aside in refused] == [("abc", RUN)] and "model.hidden_size" in refused[0].reason
    runs = {run.data.tags.get(FINGERPRINT): run for run in door.client.search_runs([door.experiment_id])}
    assert runs["abc"].data.params["more"] == "1" and runs["abc"].data.params["model.hidden_size"] == "16"
    assert runs["abc"].data.metrics["test/nll"] == 1.1 and runs["abc"].info.status == "FINISHED"
    assert runs["def"].data.params["model.hidden_size"] == "16"


@pytest.mark.parametrize("uri", ["sqlite:///nowhere.db", "http://127.0.0.1:9", "foo://x"])
def test_a_uri_that_cannot_be_read_is_one_line_and_creates_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        read_runs(uri, "tiny")
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())
