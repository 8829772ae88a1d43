"""What MLflow's pages show of a sweep: scores, and no last point of a curve in their place."""

import json
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from mlflow import MlflowClient

from sweeps.tracking.mlflow.server import find_links
from sweeps.tracking.mlflow.view import NOTE, TAG, prepare_view

OBJECTIVE = {"metric": "val/exact_accuracy", "goal": "maximize"}


@pytest.fixture
def client(tmp_path: Path) -> MlflowClient:
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    client.create_experiment("demo", artifact_location=(tmp_path / "artifacts").as_uri())
    return client


def add_run(client: MlflowClient, score: float) -> str:
    """A run whose accuracy is 0 at the largest inference depth."""
    experiment = client.get_experiment_by_name("demo")
    run = client.create_run(experiment.experiment_id).info.run_id
    for depth, value in ((1, score), (2, score / 2), (8, 0.0)):
        client.log_metric(run, "depth/exact_accuracy", value, step=depth)
    for split in ("val", "test"):
        client.log_metric(run, f"{split}/exact_accuracy", score, step=750)
    return run


def test_the_link_to_compare_has_the_best_runs_by_their_score_on_test(client: MlflowClient) -> None:
    runs = {score: add_run(client, score) for score in (0.3, 0.82, 0.5)}
    number = client.get_experiment_by_name("demo").experiment_id
    prepare_view(client, number, ["model.hidden_size"], OBJECTIVE)
    link = find_links(client.tracking_uri, "http://here", "demo")["compare"]
    address, _, query = link.partition("/#/metric?")
    asked = {name: values[0] for name, values in parse_qs(query).items()}
    assert address == "http://here" and json.loads(asked["experiments"]) == [number]
    assert json.loads(asked["metric"]) == "test/exact_accuracy" and json.loads(asked["plot_metric_keys"]) == ["test/exact_accuracy"]
    assert json.loads(asked["runs"]) == [runs[0.82], runs[0.5], runs[0.3]]


def test_the_view_has_scores_for_columns_and_no_curve_over_depth(client: MlflowClient) -> None:
    experiment = client.get_experiment_by_name("demo")
    prepare_view(client, experiment.experiment_id, ["model.hidden_size"], OBJECTIVE)
    tags = client.get_experiment(experiment.experiment_id).tags
    columns = json.loads(tags[TAG])["selectedColumns"]
    assert "metrics.`test/exact_accuracy`" in columns and not any("depth/" in column for column in columns)
    assert "and no score" in tags[NOTE]
    client.set_experiment_tag(experiment.experiment_id, NOTE, "ours")
    prepare_view(client, experiment.experiment_id, ["model.hidden_size"], OBJECTIVE)
    assert client.get_experiment(experiment.experiment_id).tags[NOTE] == "ours"
    assert "compare" not in find_links(client.tracking_uri, "http://here", "demo")  # no run has a score yet
