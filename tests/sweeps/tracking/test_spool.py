"""What is spooled once is sent once, also over restarts."""

from pathlib import Path

from sweeps.tracking.spool import Spool


def points(*steps: int) -> list[dict]:
    return [{"metric": "val_curve/nll", "axis": "step", "at": step, "value": 1.0, "time": step} for step in steps]


def test_an_event_that_comes_once_is_spooled_once_also_after_a_restart(tmp_path: Path) -> None:
    for _ in range(2):
        spool = Spool(tmp_path)
        spool.add_once({"kind": "start", "fingerprint": "a"})
        spool.add_once({"kind": "start", "fingerprint": "a"})
        spool.add_once({"kind": "start", "fingerprint": "b"})
    assert [event["fingerprint"] for event in spool.pending()[0]] == ["a", "b"]


def test_steps_that_were_spooled_are_dropped(tmp_path: Path) -> None:
    Spool(tmp_path).add_points("a", points(1, 2))
    spool = Spool(tmp_path)
    spool.add_points("a", points(1, 2, 3))
    spool.add_points("b", points(1))
    assert [[p["at"] for p in event["points"]] for event in spool.pending()[0]] == [[1, 2], [3], [1]]


def test_the_cursor_moves_after_success_and_survives(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.add_once({"kind": "start", "fingerprint": "a"})
    events, position = spool.pending()
    assert spool.pending()[0] == events and not spool.is_empty
    spool.advance(position)
    assert Spool(tmp_path).is_empty
    spool.add_once({"kind": "end", "fingerprint": "a"})
    assert [event["kind"] for event in Spool(tmp_path).pending()[0]] == ["end"]


def test_a_trial_that_ends_otherwise_the_second_time_says_so(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for status in ("FAILED", "FAILED", "FINISHED", "FINISHED"):
        spool.add_once({"kind": "end", "fingerprint": "a", "status": status})
    assert [event["status"] for event in Spool(tmp_path).pending()[0]] == ["FAILED", "FINISHED"]
