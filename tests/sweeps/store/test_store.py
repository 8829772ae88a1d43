import json
from pathlib import Path

import pytest

from rrm.errors import UserError
from sweeps.store.json_lines import append_line, read_lines
from sweeps.store.store import Store


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
    result = {"fingerprint": "abc", "outcome": "completed", "params": 1, "curves": []}
    store.write_result("abc", json.dumps(result))
    (tmp_path / "sweep/trials/def/copy").mkdir(parents=True)
    (tmp_path / "sweep/trials/def/copy/result.json").write_text("{}")  # a file below the folder of a trial
    assert store.results() == {"abc": result} and store.finished() == {"abc"}


def test_a_driver_s_own_files_lie_where_they_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RRM_DRIVER_FOLDER", str(tmp_path / "spool"))
    assert Store("s3://bucket/sweeps/tiny").driver_folder.parent == tmp_path / "spool"
    assert Store(tmp_path / "runs/tiny").driver_folder == tmp_path / "runs/tiny"
    monkeypatch.delenv("RRM_DRIVER_FOLDER")
    assert Store("s3://bucket/sweeps/tiny").driver_folder.parent == Path("runs/.driver").resolve()
