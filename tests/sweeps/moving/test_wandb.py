"""`rrm-sweep export --to wandb`, in its offline mode."""

import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rrm.errors import UserError
from sweeps.driver.ledger import Ledger
from sweeps.moving.export_wandb import NEEDS_PACKAGE, export_to_wandb
from tests.sweeps.conftest import ending, measure_sections, run_here

BLOCK, FULL, LAST = 32768, 1, 4  # bytes of a block, and kinds of parts that end a record
DESIGN = {"vary": {"model.hidden_size": [16, 24], "model.l_cycles": [1]}, "seeds": 1}


@pytest.fixture
def trained(open_ledger: Callable[..., Ledger], monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    ledger = open_ledger(measure_sections() | {"measure": DESIGN, "tracking": {"kind": "memory"}})
    run_here(ledger)
    return ledger


def runs_of(ledger: Ledger) -> dict[str, Path]:
    """The files of runs by id."""
    return {path.stem.removeprefix("run-"): path for path in ledger.store.driver_folder.glob("wandb/offline-run-*/run-*.wandb")}


def records_of(path: Path) -> list[Any]:
    """What the file of an offline run holds: records of protobuf in a log in the format of LevelDB, behind 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, whole, records = path.read_bytes(), 7, b"", []
    while at + 7 <= len(data):
        if BLOCK - at % BLOCK < 7:  # the end of a block that is too short for a header
            at += BLOCK - at % BLOCK
            continue
        length, kind = struct.unpack("<4xHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (FULL, LAST):
            record = Record()
            record.ParseFromString(whole)
            records.append(record)
            whole = b""
    return records


def test_each_trial_is_a_run_with_its_settings_curves_and_scores(trained: Ledger) -> None:
    assert export_to_wandb(trained.store) == "tiny in wandb: 2 finished trials of tiny added, 0 were there"
    runs = runs_of(trained)
    assert runs.keys() == trained.results.keys()
    for name, path in runs.items():
        records = records_of(path)
        (run,) = {record.run.run_group for record in records if record.HasField("run")}
        assert run == "tiny"
        config = {item.key: json.loads(item.value_json) for record in records for item in record.run.config.update}
        assert config["model.hidden_size"] == trained.results[name]["model.hidden_size"] and config["seed"] == 0
        logged = [
            {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
            for record in records
            if record.HasField("history")
        ]
        depths = [line["depth/exact_accuracy"] for line in logged if "depth/exact_accuracy" in line]
        curve = [point["value"] for point in trained.store.results()[name]["curves"] if point["metric"] == "depth/exact_accuracy"]
        assert depths == curve and len(curve) == 4


def test_the_same_command_adds_nothing_and_a_new_trial_is_added(trained: Ledger) -> None:
    export_to_wandb(trained.store)
    assert export_to_wandb(trained.store) == "tiny in wandb: 0 finished trials of tiny added, 2 were there"
    assert len(runs_of(trained)) == 2


def test_a_failed_trial_is_a_failed_run(open_ledger: Callable[..., Ledger], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    ledger = open_ledger(measure_sections() | {"measure": DESIGN, "tracking": {"kind": "memory"}})
    config = ledger.ask()
    assert config is not None
    ledger.end(config.fingerprint, ending(config, outcome="failed", reason="diverged"))
    export_to_wandb(ledger.store)
    (path,) = runs_of(ledger).values()
    assert {record.exit.exit_code for record in records_of(path) if record.HasField("exit")} == {1}


def test_without_wandb_one_line_has_the_command(open_ledger: Callable[..., Ledger], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # as where it is not installed
    ledger = open_ledger(measure_sections() | {"tracking": {"kind": "memory"}})
    with pytest.raises(UserError, match="--to wandb: needs the package wandb"):
        export_to_wandb(ledger.store)
    assert "rrm-sweeps[wandb]" in NEEDS_PACKAGE


def test_a_file_has_no_effect_on_wandb(typed: Callable[..., Any], trained: Ledger) -> None:
    ended = typed("export", "tiny", "--to", "wandb", "--out", "x.parquet")
    assert (ended.returncode, ended.stderr) == (2, "--out: has no effect with --to wandb: leave it out\n")
