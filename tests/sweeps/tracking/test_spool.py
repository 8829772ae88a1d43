"""What is spooled once is sent once, also over restarts."""

import shutil
from collections.abc import Callable
from pathlib import Path

from lightning_modules.outcome import Outcome
from sweeps.tracking.events import Point, State, StateChanged, TrialBegun, TrialEnded, points_of
from sweeps.tracking.spool import Spool
from tests.sweeps.conftest import measure_sections


def points(*steps: int) -> list[Point]:
    return [Point(metric="val_curve/nll", at=step, value=1.0, time=step) for step in steps]


def end(fingerprint: str, outcome: Outcome) -> TrialEnded:
    return TrialEnded(fingerprint=fingerprint, time=1, outcome=outcome, tags={})


def test_an_event_that_comes_once_is_spooled_once_also_after_a_restart(tmp_path: Path) -> None:
    for _ in range(2):
        spool = Spool(tmp_path)
        spool.add_once(StateChanged(fingerprint="a", state=State.RUNNING, time=1))
        spool.add_once(StateChanged(fingerprint="a", state=State.RUNNING, time=1))
        spool.add_once(StateChanged(fingerprint="b", state=State.RUNNING, time=1))
    assert [event.fingerprint for event in spool.pending()[0]] == ["a", "b"]


def test_steps_that_were_spooled_are_dropped(tmp_path: Path) -> None:
    Spool(tmp_path).add_points("a", points(1, 2))
    spool = Spool(tmp_path)
    spool.add_points("a", points(1, 2, 3))
    spool.add_points("b", points(1))
    assert [[p["at"] for p in points_of(event)] for event in spool.pending()[0]] == [[1, 2], [3], [1]]


def test_the_cursor_moves_after_success_and_survives(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.add_once(StateChanged(fingerprint="a", state=State.RUNNING, time=1))
    events, position = spool.pending()
    assert spool.pending()[0] == events and not spool.is_empty
    spool.advance(position)
    assert Spool(tmp_path).is_empty
    spool.add_once(end("a", Outcome.FAILED))
    assert [event.kind for event in Spool(tmp_path).pending()[0]] == ["end"]


def test_a_trial_that_ends_otherwise_the_second_time_says_so(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for outcome in (Outcome.FAILED, Outcome.FAILED, Outcome.COMPLETED, Outcome.COMPLETED):
        spool.add_once(end("a", outcome))
    ends = [event for event in Spool(tmp_path).pending()[0] if isinstance(event, TrialEnded)]
    assert [event.outcome for event in ends] == [Outcome.FAILED, Outcome.COMPLETED]


def test_a_trial_that_begins_anew_leaves_what_it_did_before_unread(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for time in (1, 2):
        spool.add_start(TrialBegun(fingerprint="a", time=time, name="h16", params={}, metrics={}, tags={}, trial=""))
        spool.add_points("a", points(4, 8))
        spool.add_once(end("a", Outcome.FAILED))
    for same in (spool, Spool(tmp_path)):
        events, position = same.pending()
        assert [event.kind for event in events] == ["start", "points", "end"]
        assert isinstance(events[0], TrialBegun) and events[0].time == 2
        assert list(same.events()) == events and {event.attempt for event in events} == {2}
    spool.advance(position)
    assert spool.is_empty and list(spool.sent()) == events


def test_each_server_has_its_own_position(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.add_once(StateChanged(state=State.RUNNING, time=1))
    for uri in ("http://one", "http://two"):
        spool.follow(uri)
        events, position = spool.pending()
        assert len(events) == 1 and not spool.is_empty
        spool.advance(position)
    spool.follow("http://one")
    assert spool.is_empty
    spool.progress.meet(("2", 1_000))
    assert not spool.is_empty


def test_a_store_that_was_begun_anew_does_not_get_the_events_of_the_removed_one(open_ledger: Callable, tmp_path: Path) -> None:
    """The driver's folder of a store with a URI outlives that store."""
    open_ledger(measure_sections()).ask()
    again = open_ledger(measure_sections())  # the same store keeps its events
    assert [event.kind for event in again.tracker.spool.events()] == ["sweep", "start"]
    for path in (tmp_path / "runs/tiny").iterdir():
        if path.is_dir() and path.name != "spool":
            shutil.rmtree(path)
        elif path.is_file():
            path.unlink()
    again = open_ledger(measure_sections())
    assert [event.kind for event in again.tracker.spool.events()] == ["sweep"]


def test_a_spool_without_an_owner_is_adopted(open_ledger: Callable, tmp_path: Path) -> None:
    open_ledger(measure_sections()).ask()
    (tmp_path / "runs/tiny/spool/store").unlink()
    again = open_ledger(measure_sections())
    assert [event.kind for event in again.tracker.spool.events()] == ["sweep", "start"]
    assert (tmp_path / "runs/tiny/spool/store").read_text() == again.store.identity()
