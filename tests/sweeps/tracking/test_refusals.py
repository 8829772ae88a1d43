"""A server that refuses some requests has the rest: metrics and statuses always, the optional parts one by one."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from sweeps.cli.status import read_status
from sweeps.driver.ledger import Ledger
from sweeps.driver.run import _deliver
from sweeps.tracking.mlflow import FINGERPRINT, SWEEP
from sweeps.tracking.mlflow.server import running_server
from tests.sweeps.conftest import ending, measure_sections
from tests.sweeps.driver.test_traps import row
from tests.sweeps.servers import free_port
from tests.sweeps.tracking.proxy import Proxy, Rule, proxy_before

FOREIGN = '{"detail": "Not Found"}'  # an answer in JSON that is not MLflow's
RULES = {
    "an older server has no datasets": Rule("log-inputs", 404),
    "a foreign server has no datasets": Rule("log-inputs", 404, FOREIGN),
    "no artifacts": Rule("mlflow-artifacts", 404),
    "artifacts forbidden": Rule("mlflow-artifacts", 403),
    "artifacts too large": Rule("mlflow-artifacts", 413),
    "artifacts not implemented": Rule("mlflow-artifacts", 501),
    "the server cannot write its artifacts": Rule("mlflow-artifacts", 500),
    "no view": Rule("set-experiment-tag", 403),
    "batches too large": Rule("log-batch", 413, max_bytes=2_000),
    "batches too large for a foreign proxy": Rule("log-batch", 413, FOREIGN, max_bytes=2_000),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    with running_server(f"sqlite:///{folder / 'mlflow.db'}", folder / "artifacts", free_port()) as address:
        yield address


@pytest.fixture
def proxy(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with proxy_before(server) as proxy:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.address)
        yield proxy


@pytest.fixture
def finished(open_ledger: Callable, request: pytest.FixtureRequest) -> Ledger:
    """A sweep of two trials with a curve each, which no server has received."""
    sections = measure_sections() | {"name": "".join(filter(str.isalnum, request.node.name))[:90], "tracking": {"models": 0}}
    sections["measure"]["vary"] = {"model.l_cycles": [1, 2]}
    ledger: Ledger = open_ledger(sections)
    while (config := ledger.ask()) is not None:
        for step in (4, 8, 12):
            ledger.row(config.fingerprint, row(step, 1.0 / step))
        ledger.store.backend.write(f"trials/{config.fingerprint}/items.parquet", b"items")
        ledger.end(config.fingerprint, ending(config, data_fingerprint="d1"))
    ledger.close()
    return ledger


def deliver(ledger: Ledger) -> None:
    ledger.tracker.delivery.start()
    assert ledger.tracker.delivery.close(), ledger.tracker.delivery.problem


def assert_metrics_and_statuses(ledger: Ledger, server: str) -> None:
    client = MlflowClient(server)
    experiment = client.get_experiment_by_name(ledger.spec.name)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert [run.info.status for run in runs if SWEEP in run.data.tags] == ["FINISHED"]
    children = {run.data.tags[FINGERPRINT]: run for run in runs if FINGERPRINT in run.data.tags}
    assert len(runs) == 3 and children.keys() == ledger.results.keys()
    for fingerprint, run in children.items():
        assert run.info.status == "FINISHED" and run.data.tags["outcome"] == "completed"
        assert run.data.metrics["test/nll"] == 0.5 and run.data.metrics["params"] == ledger.results[fingerprint]["params"]
        assert run.data.params.keys() >= {"model.l_cycles", "optim.lr", "seed"}
        points = client.get_metric_history(run.info.run_id, "val_curve/nll")
        assert [(point.step, point.value) for point in points] == [(4, 0.25), (8, 0.125), (12, 1 / 12)]


@pytest.mark.more
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
def test_what_a_server_refuses_is_set_aside_alone_and_sent_when_it_is_taken(
    rule: Rule, proxy: Proxy, server: str, finished: Ledger, open_ledger: Callable, tmp_path: Path
) -> None:
    proxy.rules.append(rule)
    deliver(finished)
    assert proxy.refused
    assert_metrics_and_statuses(finished, server)
    aside = finished.tracker.spool.progress.describe_aside(transient=False)
    status = read_status(finished.store).tracking
    if rule.path == "log-batch":
        assert not aside and not status
    else:
        assert aside and all(str(rule.status) in line for line in aside) and len(status) == len(aside)

    proxy.rules.clear()
    again: Ledger = open_ledger(finished.spec.model_dump(mode="json", exclude_none=True, by_alias=True))
    again.close()
    deliver(again)
    assert not again.tracker.spool.progress.aside and not read_status(finished.store).tracking
    client = MlflowClient(server)
    experiment = client.get_experiment_by_name(finished.spec.name)
    assert experiment is not None and "mlflow.sharedViewState.rrm" in experiment.tags
    for run in client.search_runs([experiment.experiment_id], f"tags.`{FINGERPRINT}` != ''"):
        assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"trial.yaml", "items.parquet"}
        assert [data.dataset.digest for data in run.inputs.dataset_inputs] == ["d1"]


def test_an_artifact_folder_that_cannot_be_written_keeps_no_metric_back(finished: Ledger, tmp_path: Path) -> None:
    (tmp_path / "runs/mlartifacts").write_text("")
    deliver(finished)
    assert_metrics_and_statuses(finished, finished.tracker.delivery.tracker.address)
    aside = finished.tracker.spool.progress.describe_aside(transient=False)
    for part in ("spec.yaml of 1 run", "trial.yaml of 2 runs", "items.parquet of 2 runs", "curves.parquet of 1 run"):
        assert part in ", ".join(aside)
    assert all("mlartifacts" in line for line in aside)


def test_artifacts_on_s3_without_its_client_keep_no_metric_back(finished: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = finished.tracker.delivery.tracker.address
    MlflowClient(uri).create_experiment(finished.spec.name, "s3://bucket/artifacts")
    monkeypatch.setitem(sys.modules, "boto3", None)
    deliver(finished)
    assert_metrics_and_statuses(finished, uri)
    assert "boto3" in finished.tracker.spool.progress.describe_aside(transient=False)[0]


def test_a_run_ends_with_what_was_refused_and_the_next_one_sends_it(
    finished: Ledger, open_ledger: Callable, tmp_path: Path
) -> None:
    (tmp_path / "runs/mlartifacts").write_text("")
    (line,) = _deliver(finished.tracker)
    assert line.startswith("MLflow refused ") and "trial.yaml of 2 runs" in line and line.endswith("the next run tries again")
    (tmp_path / "runs/mlartifacts").unlink()
    again = open_ledger(finished.spec.model_dump(mode="json", exclude_none=True, by_alias=True))
    again.close()
    assert _deliver(again.tracker) == []
    assert read_status(finished.store).tracking == []
