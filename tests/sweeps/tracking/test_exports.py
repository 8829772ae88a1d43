"""What MLflow and Weights & Biases export of a sweep, as rrm-analyze reads it."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest

from analysis.data.csv_import import load_csv
from analysis.data.names import COSTS
from analysis.data.tables import SECTIONS, Tables, load, merge
from analysis.report.build import build_report
from analysis.report.readable import readable_cells
from lightning_modules.config import TrialConfig
from sweeps.driver.ledger import Ledger
from tests.sweeps.conftest import ending, measure_sections

Record = dict[str, Any]
UI_COLUMNS = {"Notes": "-", "User": "me", "Tags": "", "Created": "2026-01-01T00:00:00.000Z", "Runtime": 12, "Sweep": ""}


def scores(config: TrialConfig) -> Record:
    """Accuracy rises with n; seeds scatter."""
    accuracy = 0.2 + 0.1 * (config.model.l_cycles or 1) + 0.01 * config.seed
    return {"val/exact_accuracy": accuracy, "test/exact_accuracy": accuracy, "test/token_accuracy": 0.9, "test/examples": 30}


@pytest.fixture
def swept(open_ledger: Callable[[dict[str, Any]], Ledger]) -> Ledger:
    """A sweep of two widths, two n and two seeds that has ended, one trial of it failed, in its store."""
    sections = measure_sections(model__hidden_size=16)
    sections["measure"] |= {"vary": {"model.hidden_size": [16, 24], "model.l_cycles": [1, 4]}, "seeds": 2}
    ledger = open_ledger(sections)
    count = 0
    while (config := ledger.ask()) is not None:
        n, width = config.model.l_cycles or 1, config.model.hidden_size
        changes = scores(config) if count else {"outcome": "failed", "reason": "diverged"}
        ledger.end(config.fingerprint, ending(config, 10 / width**0.5 / n**0.3 * (1 + 0.01 * config.seed), **changes))
        count += 1
    return ledger


def assert_same_trials(exported: Tables, stored: Tables) -> None:
    """The same settings, scores and costs, and so the same cells and laws."""
    names = [name for name in map(str, stored.trials) if "." in name or "/" in name or name in COSTS]
    frames = [tables.trials.sort_values(["model.hidden_size", "model.l_cycles", "seed"])[names] for tables in (exported, stored)]
    pd.testing.assert_frame_equal(*(frame.reset_index(drop=True) for frame in frames), check_dtype=False)
    assert exported.varied == stored.varied == ["model.hidden_size", "model.l_cycles"]


def assert_same_report(exported: Tables, stored: Tables) -> None:
    one, other = build_report(exported, []), build_report(stored, [])
    pd.testing.assert_frame_equal(one.cells, other.cells, check_dtype=False)
    shown = [readable_cells(report, brief=True).to_string() for report in (one, other)]
    assert shown[0] == shown[1]
    assert len(one.effects) > 0 and [str(sentence) for sentence in one.answer] == [str(sentence) for sentence in other.answer]


def test_an_export_of_mlflow_gives_what_the_store_gives(swept: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    swept.close()
    swept.tracker.delivery.start()
    assert swept.tracker.delivery.close()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/runs/mlflow.db")
    runs = mlflow.search_runs(experiment_names=["tiny"])
    runs.to_csv(tmp_path / "plain.csv", index=False)
    runs.to_csv(tmp_path / "row names.csv")
    runs.to_parquet(tmp_path / "runs.parquet")
    stored = merge([load(swept.store.location)])
    for name in ("plain.csv", "row names.csv", "runs.parquet"):
        exported = load_csv(tmp_path / name)
        assert len(runs) == 9 and len(exported.trials) == 8  # the parent is no trial
        assert exported.trials["fingerprint"].tolist() == stored.trials["fingerprint"].tolist()
        assert exported.trials["outcome"].value_counts().to_dict() == {"completed": 7, "failed": 1}
        assert set(exported.trials["sweep"]) == {"tiny"}
        assert_same_trials(exported, stored)
        left_out, others = exported.notes
        assert left_out.startswith("1 row is left out: a run that holds others")
        assert "tags.* (" in others and "params" not in others and "metrics" not in others
    assert_same_report(exported, stored)


def wandb_ui(record: Record) -> Record:
    """A row as a project's table exports it: settings and summary by plain names, beside what W&B adds."""
    state = {"completed": "finished", "failed": "crashed"}[record["outcome"]]
    facts = {name: value for name, value in record.items() if name not in {"outcome", "fingerprint", "sweep", "reason"}}
    return {"Name": "run", "State": state, **UI_COLUMNS, **facts, "_wandb.runtime": 12 + len(facts), "_step": 12, "_runtime": 11.5}


def wandb_api(record: Record) -> Record:
    """A row made of `run.config` and `run.summary`."""
    ui = wandb_ui(record)
    row = {"name": "run", "id": record["fingerprint"], "state": ui["State"]}
    for name, value in ui.items():
        if name not in UI_COLUMNS and name not in row and name not in {"Name", "State"}:
            prefix = "config." if name.startswith(SECTIONS) or name == "seed" else "summary."
            row[prefix + name] = value
    return row


def wandb_files(record: Record) -> Record:
    """Settings as config.yaml holds them, with a value and a description."""
    row: Record = {}
    for name, value in wandb_ui(record).items():
        row |= {f"{name}.value": value, f"{name}.desc": ""} if name.startswith(SECTIONS) else {name: value}
    return row


def wandb_logger(record: Record) -> Record:
    """Settings with slashes, as Lightning's logger flattens them."""
    return {name.replace(".", "/") if name.startswith(SECTIONS) else name: value for name, value in wandb_ui(record).items()}


def wandb_frame(record: Record) -> Record:
    """A row with the dictionaries `run.config` and `run.summary` as pandas writes them."""
    row = wandb_api(record)
    summary = {name.removeprefix("summary."): value for name, value in row.items() if name.startswith("summary.")}
    config: Record = {}
    for name, value in row.items():
        if name.startswith("config."):
            *sections, key = name.removeprefix("config.").split(".")
            section = config
            for part in sections:
                section = section.setdefault(part, {})
            section[key] = value
    return {"summary": str(summary | {"grad": float("nan")}), "config": str(config), "name": "run", "state": row["state"]}


@pytest.mark.more
def test_an_export_of_wandb_gives_what_the_store_gives(swept: Ledger, tmp_path: Path) -> None:
    stored = merge([load(swept.store.location)])
    results = [{name: value for name, value in result.items() if name != "curves"} for result in swept.store.results().values()]
    for shape in (wandb_ui, wandb_api, wandb_files, wandb_logger, wandb_frame):
        path = tmp_path / f"{shape.__name__}.csv"
        write_export(path, [shape(result) for result in results])
        exported = load_csv(path)
        assert exported.trials["outcome"].value_counts().to_dict() == {"completed": 7, "failed": 1}
        assert_same_trials(exported, stored)
        assert "_wandb.runtime" in " ".join(exported.notes)
    assert_same_report(exported, stored)


def write_export(path: Path, rows: list[Record]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)), quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows({name: as_wandb_writes(value) for name, value in row.items()} for row in rows)


def as_wandb_writes(value: Any) -> str:
    """A cell in W&B's notation: JSON for all but text."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
