"""A tracker is one class: chosen by its kind, without MLflow, and with each point once."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rrm.errors import UserError
from sweeps.driver.ledger import Ledger
from sweeps.spec.load_spec import load_spec
from sweeps.tracking import delivery
from sweeps.tracking.mlflow.tracker import MlflowTracker
from sweeps.tracking.tracker import Tracker
from sweeps.tracking.trackers import find_tracker
from sweeps.tracking.trackers.memory import MemoryTracker
from tests.conftest import EXAMPLES
from tests.sweeps.conftest import assert_refused, ending, measure_sections
from tests.sweeps.driver.test_traps import row

STEPS = (4, 8, 12)


FAILING = """
from sweeps import Tracker


class Failing(Tracker):
    kind = "failing"
    failures = 3

    def __init__(self, spec, store, spool):
        super().__init__(spec, store, spool)
        self.received = []

    def deliver(self, events):
        if self.failures:
            self.failures -= 1
            raise ConnectionError("no route to it")
        self.received.extend(events)
"""


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short pauses of the thread."""
    for name in ("GATHERING_SECONDS", "MIN_WAIT_SECONDS"):
        monkeypatch.setattr(delivery, name, 0.01)


def run_trials(open_ledger: Callable, kind: str, plugin: str | None = None) -> Ledger:
    """A sweep of four trials, of which a tracker has received everything; its plug-in lies beside the spec."""
    sections = measure_sections() | {"tracking": {"kind": kind}}
    if plugin:
        sections["plugins"] = [plugin]
    ledger: Ledger = open_ledger(sections)
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


def test_a_tracker_of_a_user_s_own_is_one_file(open_ledger: Callable, tmp_path: Path) -> None:
    (tmp_path / "my_tracker.py").write_text(EXAMPLES["my_tracker.py"])
    for _ in range(2):  # the second driver has nothing to send
        ledger = run_trials(open_ledger, "json_lines", "my_tracker.py")
        lines = [json.loads(line) for line in (tmp_path / "runs/tiny/tracked.jsonl").read_text().splitlines()]
        curve = sorted(line for line in lines if "val_curve/nll" in line)
        assert curve == sorted([name, "val_curve/nll", step, 1.0 / step] for name in ledger.results for step in STEPS)
    assert ledger.tracker.delivery.tracker.title == "json_lines"
    plain = open_ledger(measure_sections()).spec.design
    assert [trial.fingerprint for trial in ledger.spec.design] == [trial.fingerprint for trial in plain]


def test_events_that_did_not_arrive_come_again_in_order_and_none_is_left_out(open_ledger: Callable, tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text(FAILING)
    ledger = run_trials(open_ledger, "failing", "failing.py")
    tracker: Any = ledger.tracker.delivery.tracker
    assert tracker.received == list(ledger.tracker.spool.events()) and tracker.failures == 0
    assert [event.kind for event in tracker.received[-3:]] == [
        "state",
        "curves",
        "models",
    ] and ledger.tracker.delivery.problem is None


def test_a_tracker_that_always_fails_is_named_with_its_reason_and_costs_no_trial(
    open_ledger: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "failing.py").write_text(FAILING.replace("failures = 3", "failures = 10**6"))
    monkeypatch.setattr(delivery, "UNREACHABLE_SECONDS", 0.1)
    with pytest.raises(AssertionError, match="ConnectionError: no route to it"):
        run_trials(open_ledger, "failing", "failing.py")


@pytest.mark.parametrize(("body", "line"), [
    ("def __init__(self):\n        pass", "tracker failing of failing.py: does not keep to the interface: TypeError"),
    ("def connect(self):\n        raise SystemExit('gone')", "SystemExit: gone"),
])  # fmt: skip
def test_a_tracker_that_cannot_be_made_or_ends_its_thread_is_named(
    open_ledger: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, line: str
) -> None:
    (tmp_path / "failing.py").write_text(f"{FAILING}\n    {body}\n")
    monkeypatch.setattr(delivery, "UNREACHABLE_SECONDS", 0.1)
    with pytest.raises((UserError, AssertionError), match=re.escape(line)):
        run_trials(open_ledger, "failing", "failing.py")


def chosen(write_spec: Callable, **tracking: Any) -> type[Tracker]:
    return find_tracker(load_spec(write_spec(measure_sections() | {"tracking": tracking})))


def test_mlflow_is_the_default_and_an_unknown_kind_is_refused_with_the_known_ones(write_spec: Callable) -> None:
    assert chosen(write_spec) is MlflowTracker
    with pytest.raises(UserError, match=r"tracking.kind: must be one of memory, mlflow, got 'tensorboard'"):
        chosen(write_spec, kind="tensorboard")


def test_a_tracker_with_the_kind_of_a_built_in_one_is_refused(write_spec: Callable, tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text(FAILING.replace('"failing"', '"memory"'))
    sections = measure_sections() | {"tracking": {"kind": "memory"}, "plugins": ["failing.py"]}
    with pytest.raises(UserError, match="define the tracker 'memory', which is built in: choose another kind"):
        find_tracker(load_spec(write_spec(sections)))


def test_a_number_of_models_is_refused_where_the_tracker_takes_none(typed: Callable, write_spec: Callable, tmp_path: Path) -> None:
    write_spec(measure_sections())
    for command in ("plan", "run"):
        ended = typed(command, "sweep.yaml", "tracking.kind=memory", "tracking.models=2")
        assert_refused(ended, "tracking.models: must be absent or 0, because the tracker memory takes no models, got 2", tmp_path)
    for models in (None, 0):
        given = {} if models is None else {"models": models}
        assert chosen(write_spec, kind="memory", **given) is MemoryTracker
    assert chosen(write_spec, models=2) is MlflowTracker
