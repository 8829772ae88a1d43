"""What a sweep leaves in MLflow can be loaded, run again and asked."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from lightning_modules.__main__ import main
from lightning_modules.config import load_trial
from lightning_modules.datamodule import load_splits
from sweeps.driver.ledger import Ledger
from sweeps.tracking.curves_file import axis_of
from sweeps.tracking.mlflow import FINGERPRINT
from sweeps.tracking.mlflow.model_logging import ALIAS, Unsavable, log_best
from tests.conftest import ROOT
from tests.sweeps.conftest import track_sweep

pytestmark = pytest.mark.more  # the export of two models takes 20 s


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    return track_sweep(tmp_path_factory.mktemp("tracked"), models=2)


@pytest.fixture
def client(tracked: Ledger, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    uri = tracked.tracker.delivery.tracker.address
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setattr(mlflow.tracking._tracking_service.utils, "_tracking_uri", None)
    return MlflowClient(uri)


def experiment_id(client: MlflowClient) -> str:
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    return experiment.experiment_id


def test_the_best_models_are_logged_and_the_best_is_registered(tracked: Ledger, client: MlflowClient) -> None:
    best, second = (record["fingerprint"] for record in tracked.best(2))
    version = client.get_model_version_by_alias("tiny", ALIAS)
    assert version.tags[FINGERPRINT] == best
    assert client.get_run(version.run_id).data.tags[FINGERPRINT] == best
    logged = client.search_logged_models([experiment_id(client)])
    assert {model.tags[FINGERPRINT] for model in logged} == {best, second}
    assert {model.status.value for model in logged} == {"READY"}


def test_the_loaded_model_has_the_accuracy_that_the_run_recorded(client: MlflowClient) -> None:
    version = client.get_model_version_by_alias("tiny", ALIAS)
    run = client.get_run(version.run_id)
    config = load_trial(Path(client.download_artifacts(version.run_id, "trial.yaml")))
    model = mlflow.pytorch.load_model(f"models:/tiny@{ALIAS}")
    data = load_splits(config.task).splits["validation"]
    answers = model(torch.from_numpy(data.inputs.astype(np.int64))).argmax(-1).numpy()
    solved = ((answers == data.labels) | (data.labels == 0)).all(1)
    assert solved.mean() == run.data.metrics["val/exact_accuracy"] > 0
    info = mlflow.models.get_model_info(f"models:/tiny@{ALIAS}")
    assert set(info.flavors) == {"pytorch", "python_function"} and info.signature is not None
    assert mlflow.pyfunc.load_model(f"models:/tiny@{ALIAS}").input_example is not None


def test_models_logged_again_are_not_doubled(tracked: Ledger, client: MlflowClient) -> None:
    number = experiment_id(client)
    before = {model.model_id for model in client.search_logged_models([number])}
    runs = {model.tags[FINGERPRINT]: model.source_run_id for model in client.search_logged_models([number])}
    best = [record["fingerprint"] for record in tracked.best(2)]
    log_best(client, number, "tiny", {name: runs[name] for name in best}, tracked.store.file)
    assert {model.model_id for model in client.search_logged_models([number])} == before
    assert len(client.search_model_versions("name = 'tiny'")) == 1


def test_a_trial_whose_weights_are_gone_is_said_and_not_tried_for_ever(tracked: Ledger, client: MlflowClient) -> None:
    run = client.create_run(experiment_id(client), run_name="gone")
    with pytest.raises(Unsavable, match="the weights of trial gone are gone"):
        log_best(client, experiment_id(client), "gone", {"gone": run.info.run_id}, lambda *_: None)
    client.delete_run(run.info.run_id)


def test_a_model_that_cannot_be_logged_keeps_no_other_from_being_logged(tracked: Ledger, client: MlflowClient) -> None:
    best, second = (record["fingerprint"] for record in tracked.best(2))
    other = client.create_experiment("partly")
    copies = {name: client.create_run(other, run_name=name).info.run_id for name in (best, second)}
    with pytest.raises(Unsavable, match=f"^the weights of trial {best} are gone$"):
        log_best(client, other, "partly", copies, lambda name, file: None if name == best else tracked.store.file(name, file))
    logged = {model.tags[FINGERPRINT]: model.status.value for model in client.search_logged_models([other])}
    assert logged == {best: "FAILED", second: "READY"}
    assert not client.search_model_versions("name = 'partly'")  # the alias names the best trial alone


def test_a_trial_run_again_from_its_artifact_repeats_every_metric(
    client: MlflowClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = client.get_run(client.get_model_version_by_alias("tiny", ALIAS).run_id)
    trial = client.download_artifacts(run.info.run_id, "trial.yaml", str(tmp_path))
    threads = str(int(run.data.metrics["threads"]))
    assert main([trial, "--threads", threads, "--out", str(tmp_path / "again")]) == 0
    record = json.loads((tmp_path / "again/result.json").read_text())
    points = {(point["metric"], point["at"]): point["value"] for point in record.pop("curves")}
    machine = {"wall_seconds", "train_seconds", "examples_per_second", "peak_memory_bytes"}
    compared = 0
    for name, value in run.data.metrics.items():
        if axis_of(name):
            for point in client.get_metric_history(run.info.run_id, name):
                assert points[name, point.step] == point.value, name
                compared += 1
        elif name not in machine:
            assert record[name] == value, name
            compared += 1
    assert compared > 60
    assert (tmp_path / "again/items.parquet").read_bytes() == Path(
        client.download_artifacts(run.info.run_id, "items.parquet", str(tmp_path))
    ).read_bytes()


# -- served -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def address(tracked: Ledger) -> Iterator[str]:
    """`mlflow models serve` on the best model."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {
        **os.environ,
        "PATH": path,
        "PYTHONPATH": str(ROOT),
        "MLFLOW_TRACKING_URI": tracked.tracker.delivery.tracker.address,
    }
    command = ["models", "serve", "-m", f"models:/tiny@{ALIAS}", "--env-manager", "local", "--port", str(port)]
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *command], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{url}/health", timeout=1)
            break
        except OSError:
            assert server.poll() is None
            time.sleep(0.1)
    yield url
    os.killpg(server.pid, 15)
    server.wait(20)


def ask(address: str, request: Any) -> tuple[int, dict[str, Any]]:
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    sent = urllib.request.Request(f"{address}/invocations", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(sent, timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


PUZZLE = [2, 1, 1, 1, 1, 3, 1, 1, 1, 1, 4, 1, 1, 1, 1, 5]


def puzzles(*grids: Any, **params: Any) -> dict[str, Any]:
    return {"dataframe_records": [{"grid": grid} for grid in grids]} | ({"params": params} if params else {})


def test_a_served_model_answers_over_http(address: str) -> None:
    status, said = ask(address, puzzles(PUZZLE, PUZZLE[::-1], depth=5))
    assert status == 200
    for answer in said["predictions"]:
        assert len(answer["answer"]) == 16 and set(answer["answer"]) <= set(range(6))
        assert answer["depth"] == 5 and 0 <= answer["confidence"] <= 1
    status, said = ask(address, puzzles(PUZZLE, depth=30, halting="convergence"))
    assert status == 200 and said["predictions"][0]["depth"] < 30


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (puzzles([2, 1, 1]), "grid 0 must have 16 tokens, got 3"),
        (puzzles(PUZZLE, [*PUZZLE[:-1], 77]), "grid 1 must hold whole numbers from 0 to 5, got 77"),
        (puzzles([*PUZZLE[:-1], -1]), "got -1"),
        (puzzles([*PUZZLE[:-1], 1.5]), "Can not safely convert float64 to int64"),
        (puzzles("2111"), "Expected data to be list or numpy array, got str"),
        (puzzles(["a"] * 16), "Can not safely convert"),
        (puzzles(PUZZLE, depth=0), "depth must be 1 to 1024 supervision steps, got 0"),
        (puzzles(PUZZLE, halting="never"), "halting must be one of fixed, q, convergence, got 'never'"),
        ({"dataframe_records": [{"gird": PUZZLE}]}, "Model is missing inputs"),
        ({"dataframe_records": []}, "Model is missing inputs"),
        ({"puzzle": PUZZLE}, "must be a JSON dictionary with exactly one of the input fields"),
        (b"nonsense", "valid JSON"),
    ],
)
def test_what_is_not_a_puzzle_is_refused_with_a_sentence(address: str, request_: Any, sentence: str) -> None:
    status, said = ask(address, request_)
    assert 400 <= status < 500 and sentence in said["message"] and "Traceback" not in json.dumps(said)
