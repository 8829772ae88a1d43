"""A tracker is one class: chosen by its kind, without MLflow, and with each point once."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from rrm.errors import UserError
from sweeps.driver.ledger import Ledger
from sweeps.spec.resources import Tracking
from sweeps.tracking import delivery
from sweeps.tracking.events import Event, TrialEnded, points_of
from sweeps.tracking.mlflow.tracker import MlflowTracker
from sweeps.tracking.tracker import KINDS, Tracker
from sweeps.tracking.trackers import find_tracker
from sweeps.tracking.trackers.memory import MemoryTracker
from tests.sweeps.conftest import assert_refused, ending, measure_sections
from tests.sweeps.driver.test_traps import row

STEPS = (4, 8, 12)


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Short pauses of the thread; the kinds that a test defines are forgotten after it."""
    kinds = dict(KINDS)
    for name in ("GATHERING_SECONDS", "MIN_WAIT_SECONDS"):
        monkeypatch.setattr(delivery, name, 0.01)
    yield
    KINDS.clear()
    KINDS.update(kinds)


def run_trials(open_ledger: Callable, kind: str) -> Ledger:
    """A sweep of four trials, of which a tracker has received everything."""
    ledger: Ledger = open_ledger(measure_sections() | {"tracking": {"kind": kind}})
    while (config := ledger.ask()) is not None:
        for step in STEPS:
            ledger.row(config.fingerprint, row(step, 1.0 / step))
        ledger.end(config.fingerprint, ending(config))
    ledger.close()
    ledger.tracker.delivery.start()
    assert ledger.tracker.delivery.close(), ledger.tracker.delivery.problem
    return ledger


def test_a_tracker_in_memory_holds_every_trial_and_point_without_a_database(open_ledger: Callable, tmp_path: Path) -> None:
    ledger = run_trials(open_ledger, "memory")
    tracker = ledger.tracker.delivery.tracker
    assert isinstance(tracker, MemoryTracker)
    assert tracker.standings == {"": "finished"} | dict.fromkeys(ledger.results, "completed")
    points = {key: value for key, value in tracker.points.items() if key[1] == "val_curve/nll"}
    assert points == {(name, "val_curve/nll", step): 1.0 / step for name in ledger.results for step in STEPS}
    assert tracker.result_line() == "" and not list(tmp_path.rglob("mlflow.db"))
    again = run_trials(open_ledger, "memory").tracker.delivery.tracker
    assert isinstance(again, MemoryTracker) and again.points == tracker.points  # a new one receives the whole spool


def test_a_tracker_of_a_user_s_own_is_one_class(open_ledger: Callable, tmp_path: Path) -> None:
    class JsonLinesTracker(Tracker):
        """Appends outcomes and points to a file beside the sweep."""

        kind = "json_lines"

        def deliver(self, events: Sequence[Event]) -> None:
            with (tmp_path / "tracked.jsonl").open("a") as file:
                for event in events:
                    if isinstance(event, TrialEnded):
                        print(json.dumps([event.fingerprint, event.outcome]), file=file)
                    for point in points_of(event):
                        print(json.dumps([event.fingerprint, point["metric"], point["at"], point["value"]]), file=file)

    for _ in range(2):  # the second driver has nothing to send
        ledger = run_trials(open_ledger, "json_lines")
        lines = [json.loads(line) for line in (tmp_path / "tracked.jsonl").read_text().splitlines()]
        assert sorted(line for line in lines if len(line) == 2) == sorted([name, "completed"] for name in ledger.results)
        curve = sorted(line for line in lines if "val_curve/nll" in line)
        assert curve == sorted([name, "val_curve/nll", step, 1.0 / step] for name in ledger.results for step in STEPS)
    assert ledger.tracker.delivery.tracker.title == "json_lines"


def test_events_that_did_not_arrive_come_again_in_order_and_none_is_left_out(open_ledger: Callable) -> None:
    received: list[Event] = []

    class FailingTracker(Tracker):
        kind = "failing"
        failures = 3

        def deliver(self, events: Sequence[Event]) -> None:
            if FailingTracker.failures:
                FailingTracker.failures -= 1
                raise ConnectionError("no route to it")
            received.extend(events)

    ledger = run_trials(open_ledger, "failing")
    assert received == list(ledger.tracker.spool.events()) and FailingTracker.failures == 0
    assert [event.kind for event in received[-3:]] == ["state", "curves", "models"] and ledger.tracker.delivery.problem is None


def test_a_tracker_that_always_fails_is_named_with_its_reason_and_costs_no_trial(
    open_ledger: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    class BrokenTracker(Tracker):
        kind = "broken"

        def deliver(self, events: Sequence[Event]) -> None:
            raise ConnectionError("no route to it")

    monkeypatch.setattr(delivery, "UNREACHABLE_SECONDS", 0.1)
    with pytest.raises(AssertionError, match="ConnectionError: no route to it"):
        run_trials(open_ledger, "broken")


def test_mlflow_is_the_default_and_an_unknown_kind_is_refused_with_the_known_ones(open_ledger: Callable) -> None:
    assert find_tracker(Tracking()) is MlflowTracker
    with pytest.raises(UserError, match=r"tracking.kind: must be one of memory, mlflow, got 'tensorboard'"):
        find_tracker(Tracking(kind="tensorboard"))


def test_a_number_of_models_is_refused_where_the_tracker_takes_none(typed: Callable, write_spec: Callable, tmp_path: Path) -> None:
    write_spec(measure_sections())
    for command in ("plan", "run"):
        ended = typed(command, "sweep.yaml", "tracking.kind=memory", "tracking.models=2")
        assert_refused(ended, "tracking.models: must be absent or 0, because the tracker memory takes no models, got 2", tmp_path)
    for models in (None, 0):
        assert find_tracker(Tracking(kind="memory", models=models)) is MemoryTracker
    assert find_tracker(Tracking(models=2)) is MlflowTracker
