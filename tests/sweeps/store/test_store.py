import json
from pathlib import Path

import pytest

from rrm.errors import UserError
from sweeps.store.json_lines import append_line, read_lines
from sweeps.store.store import Store
from sweeps.tracking.spool import Spool


def test_a_torn_last_line_is_dropped_and_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    append_line(path, {"a": 1})
    with path.open("a") as file:
        file.write('{"a": 2, "b"')
    assert list(read_lines(path)) == [{"a": 1}]
    append_line(path, {"a": 3})
    assert list(read_lines(path)) == [{"a": 1}, {"a": 3}]


def test_a_second_driver_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "sweep")
    store.create()
    with store.locked(), pytest.raises(UserError, match="is being run by another driver"), store.locked():
        pass
    with store.locked():  # free again
        pass


def test_results_are_read_by_fingerprint(tmp_path: Path) -> None:
    store = Store(tmp_path / "sweep")
    assert store.results() == {}
    store.write_result("abc", json.dumps({"outcome": "completed", "curves": []}))
    assert store.results() == {"abc": {"outcome": "completed", "curves": []}}


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


def test_a_driver_s_own_files_lie_where_they_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RRM_DRIVER_FOLDER", str(tmp_path / "spool"))
    assert Store("s3://bucket/sweeps/tiny").driver_folder.parent == tmp_path / "spool"
    assert Store(tmp_path / "runs/tiny").driver_folder == tmp_path / "runs/tiny"
    monkeypatch.delenv("RRM_DRIVER_FOLDER")
    assert Store("s3://bucket/sweeps/tiny").driver_folder.parent == Path("runs/.driver").resolve()
