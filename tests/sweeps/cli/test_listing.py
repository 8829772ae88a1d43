"""`rrm-sweep list`: the sweeps of a storage, newest first."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lightning_modules.yaml_file import write_yaml
from sweeps.cli.listing import describe_size, list_entries
from sweeps.cli.status import read_status
from sweeps.store.store import Store
from tests.sweeps.conftest import measure_sections, search_sections

SCORES = {"outcome": "completed", "params": 1000, "val/nll": 0.5, "val/exact_accuracy": 0.25}


def write_store(storage: Path, name: str, modified: float, sections: dict[str, Any] | None = None) -> Store:
    """A sweep with one completed trial of four, or of six for a search, whose files have one time of change."""
    store = Store(storage / name)
    store.create()
    sections = sections or measure_sections()
    store.write_spec(write_yaml(sections | {"name": name}))
    if "measure" in sections:
        store.write_design(["a", "b", "c", "d"])
    store.write_result("a", json.dumps(SCORES | {"fingerprint": "a", "curves": []}))
    for path in (storage / name, *(storage / name).glob("**/*")):
        os.utime(path, (modified, modified))
    return store


def test_the_newest_sweep_is_first_with_its_state_and_its_best_score(tmp_path: Path) -> None:
    write_store(tmp_path, "old", 1e9)
    write_store(tmp_path, "new", 1.1e9, search_sections())
    (tmp_path / "mlartifacts").mkdir()
    new, old = list_entries(str(tmp_path))
    assert new.cells()[:4] == ("new", "stopped", "1/6", "val/nll 0.5, val exact accuracy 0.250")
    assert old.cells()[:4] == ("old", "stopped", "1/4", "val exact accuracy 0.250")
    assert old.extent.size == sum(file.stat().st_size for file in (tmp_path / "old").glob("**/*") if file.is_file())


def test_a_running_and_a_finished_sweep_have_their_states(tmp_path: Path) -> None:
    store = write_store(tmp_path, "tiny", 1e9)
    with store.locked():
        assert list_entries(str(tmp_path))[0].state == "running"
    store.write_design(["a"])
    assert list_entries(str(tmp_path))[0].state == "finished"


def test_a_damaged_sweep_has_a_row_and_the_others_are_listed(tmp_path: Path) -> None:
    write_store(tmp_path, "good", 1e9)
    write_store(tmp_path, "bad", 1e9).backend.write("design.json", b"[")
    bad, good = list_entries(str(tmp_path))
    assert bad.state == "damaged" and "design.json" in bad.best and good.name == "good"


RESULT = "trials/a/result.json"
DAMAGE = {
    "design.json": b"3",
    "rows.jsonl": b"[]\n",
    RESULT: b"[]",
    f"{RESULT} without its outcome": b'{"fingerprint": "a"}',
    f"{RESULT} with a score of text": json.dumps(SCORES | {"fingerprint": "a", "val/nll": "low"}).encode(),
    f"{RESULT} with another curve": json.dumps(SCORES | {"fingerprint": "a", "curves": [1]}).encode(),
    "trials/b/attempts.jsonl": b'{"x": 1}\n',
    "lock": None,
    "spec.yaml": None,
    "rows.jsonl that is a folder": None,
}


@pytest.mark.parametrize("named", DAMAGE)
def test_valid_json_that_is_no_part_of_a_store_and_a_folder_for_a_file_hide_no_other_sweep(tmp_path: Path, named: str) -> None:
    write_store(tmp_path, "good", 1e9)
    store, name, content = write_store(tmp_path, "bad", 1e9), named.split()[0], DAMAGE[named]
    store.write_trial("b", "")
    if content is None:
        (tmp_path / "bad" / name).unlink(missing_ok=True)
        (tmp_path / "bad" / name).mkdir()
    else:
        store.backend.write(name, content)
    bad, good = list_entries(str(tmp_path))
    assert bad.state == "damaged" and name in bad.best and "\n" not in bad.best and good.state == "stopped"


def test_the_status_names_the_best_trial(tmp_path: Path) -> None:
    lines = read_status(write_store(tmp_path, "tiny", 1e9)).lines()
    assert lines[1] == "  best: a, val exact accuracy 0.250, params 1,000"


def test_the_command_prints_a_row_for_each_sweep_and_refuses_an_empty_storage(typed: Callable, tmp_path: Path) -> None:
    write_store(tmp_path / "runs", "tiny", 1e9)
    ended = typed("list")
    assert ended.returncode == 0 and "tiny" in ended.stdout and "1/4" in ended.stdout, ended.stderr
    refused = typed("list", "--storage", "absent")
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1 and "absent: holds no sweeps" in refused.stderr


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (268_000, "268 kB"), (1.25e9, "1.25 GB")])
def test_a_size_has_three_digits_and_a_unit(size: float, text: str) -> None:
    assert describe_size(size) == text
