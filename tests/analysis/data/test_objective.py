"""What the trials of a sweep are ranked by, from a store, from MLflow, and over several sweeps."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from analysis.data.csv_import import load_csv
from analysis.data.objective import BY_ACCURACY
from analysis.data.tables import Tables, load, merge
from analysis.report.build import build_report
from lightning_modules.yaml_file import write_yaml
from sweeps.tracking.mlflow import FINGERPRINT, KIND, SWEEP
from tests.conftest import ROOT

NLL = {"metric": "val/nll", "goal": "minimize"}


def write_search(folder: Path, **search: object) -> Path:
    """Thirty trials. A low learning rate gives a low loss and a low accuracy; the width changes neither."""
    rng = np.random.default_rng(0)
    for number in range(30):
        rate, width = float(10 ** rng.uniform(-4, -2)), int(rng.choice([16, 24]))
        record = {
            "fingerprint": f"f{number:02d}", "sweep": folder.name, "outcome": "completed", "seed": 0, "params": 1000 + number,
            "optim.lr": rate, "model.hidden_size": width, "val/nll": 1 + rate, "val/exact_accuracy": min(1.0, 100 * rate),
            "test/nll": 1 + rate, "test/exact_accuracy": min(1.0, 99 * rate),
        }  # fmt: skip
        trial = folder / "trials" / record["fingerprint"]
        trial.mkdir(parents=True)
        (trial / "result.json").write_text(json.dumps(record | {"curves": []}), encoding="utf-8")
    (folder / "spec.yaml").write_text(write_yaml({"name": folder.name, "search": {"objectives": [NLL]} | search}), encoding="utf-8")
    return folder


def first_sentence(tables: Tables) -> str:
    return build_report(tables).findings[0].text


def rate_of(tables: Tables, column: str, position: int) -> str:
    """The learning rate of the trial at a position in the order of a column, as the report shows it."""
    return f"lr {tables.trials.sort_values(column)['optim.lr'].iloc[position]:.3g}"


def test_a_search_for_a_low_loss_names_the_trial_with_the_lowest_loss(tmp_path: Path) -> None:
    tables = load(write_search(tmp_path / "loss"))
    lowest, most_accurate = rate_of(tables, "val/nll", 0), rate_of(tables, "val/exact_accuracy", -1)
    sentence = first_sentence(tables)
    assert "Best trial by smallest val/nll: " in sentence and lowest in sentence and most_accurate not in sentence
    accurate = [{"metric": "val/exact_accuracy", "goal": "maximize"}]
    assert most_accurate in first_sentence(load(write_search(tmp_path / "accuracy", objectives=accurate)))


def test_importance_in_a_search_is_that_for_its_objective(tmp_path: Path) -> None:
    flat = [{"metric": "params", "goal": "minimize"}]  # neither parameter changes it
    by_loss, by_size = (build_report(load(write_search(tmp_path / name, objectives=goals)))
                        for name, goals in (("loss", [NLL]), ("size", flat)))  # fmt: skip
    shares = {one.parameter: one.share for one in by_loss.importances}
    assert shares["optim.lr"] > 0.9
    assert {one.parameter: one.share for one in by_size.importances} != shares
    assert "by val/nll (PED-ANOVA)" in next(figure for figure in by_loss.figures if figure.name == "importance").caption


def test_the_best_trial_keeps_the_constraints_of_the_search(tmp_path: Path) -> None:
    tables = load(write_search(tmp_path / "limited", constraints=["val/exact_accuracy >= 0.3"]))
    accurate = tables.trials[tables.trials["val/exact_accuracy"] >= 0.3].sort_values("val/nll")
    sentence = first_sentence(tables)
    assert "keep val/exact_accuracy >= 0.3" in sentence and f"lr {accurate['optim.lr'].iloc[0]:.3g}" in sentence
    none = first_sentence(load(write_search(tmp_path / "none", constraints=["params <= 10"])))
    assert none.endswith("No completed trial has val/nll and keeps params <= 10.")


def test_a_search_with_several_objectives_names_the_best_trial_by_each(tmp_path: Path) -> None:
    goals = [NLL, {"metric": "params", "goal": "minimize"}]
    tables = load(write_search(tmp_path / "two", objectives=goals))
    sentence = first_sentence(tables)
    assert "smallest val/nll: " in sentence and "smallest params: " in sentence and "(params 1000, " in sentence


def test_searches_with_different_objectives_have_no_best_trial_together(tmp_path: Path) -> None:
    one, other, accurate = (load(write_search(tmp_path / name, objectives=goals)) for name, goals in (
        ("one", [NLL]), ("other", [NLL]), ("accurate", [{"metric": "val/exact_accuracy", "goal": "maximize"}])))  # fmt: skip
    assert merge([one, other]).objective == one.objective
    both = merge([one, accurate])
    assert both.objective is None and "No trial is named the best" in first_sentence(both) and not build_report(both).importances


@pytest.mark.parametrize("has_spec", [True, False])
def test_a_search_in_mlflow_has_the_objective_of_its_spec_or_none(tmp_path: Path, has_spec: bool) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(uri)
    experiment = client.create_experiment("loss", artifact_location=(tmp_path / "artifacts").as_uri())
    parent = client.create_run(experiment, tags={SWEEP: "loss", KIND: "search"}).info.run_id
    client.create_run(experiment, tags={FINGERPRINT: "f", "outcome": "completed"})
    folder = write_search(tmp_path / "loss")
    if has_spec:
        client.log_artifact(parent, str(folder / "spec.yaml"))
    assert load("loss", uri).objective == (load(folder).objective if has_spec else None)


def test_a_measure_sweep_and_a_foreign_table_are_ranked_by_accuracy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs.csv").write_text("test/exact_accuracy\n0.5\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert load_csv(Path("runs.csv")).objective == BY_ACCURACY
    assert load(ROOT / "tests/fixtures/stores_e399d62/measure").objective == BY_ACCURACY


def test_a_search_by_an_older_version_has_its_objective(tables: Tables) -> None:
    store = load(ROOT / "tests/fixtures/stores_e399d62/search")
    assert store.objective is not None and [goal.metric for goal in store.objective.goals] == ["val/nll"]
    assert "No trial is named the best" in first_sentence(replace(store, objective=None))
