"""What MLflow receives of a sweep, from the first trial to the last; the questions of docs/mlflow.md get answers."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from analysis.cli import main as analyze
from analysis.data.csv_import import load_csv
from analysis.data.tables import load
from analysis.report.build import build_report
from analysis.report.into_mlflow import place_of, put_into_mlflow
from analysis.report.page import write_report
from sweeps.driver.ledger import Ledger
from sweeps.driver.reconcile import reconcile
from sweeps.spec.load_spec import load_spec
from sweeps.store.store import Store
from sweeps.tracking.curves_file import SCHEMA
from sweeps.tracking.mlflow import CURVES, FINGERPRINT, SWEEP
from sweeps.tracking.mlflow.reader import read_runs
from sweeps.tracking.mlflow.writer import MlflowWriter
from sweeps.tracking.recorder import EventRecorder
from sweeps.tracking.spool import Spool
from sweeps.worker.messages import Pruned
from tests.conftest import ROOT
from tests.sweeps.conftest import ending, measure_sections, stored_trial
from tests.sweeps.driver.test_traps import row

PAGE = (ROOT / "docs/mlflow.md").read_text()
QUESTIONS = [line for line in PAGE.split("## Ten questions")[1].split("```")[1].splitlines() if line and not line.startswith("#")]


def deliver(ledger: Ledger) -> None:
    """Everything that was spooled, by a writer without the state of earlier ones."""
    delivery = ledger.tracker.delivery
    delivery.connect()
    while not ledger.tracker.spool.is_empty:
        delivery.deliver()


def runs_of(ledger: Ledger) -> tuple[Run, dict[str, Run]]:
    """The parent, and the children by fingerprint."""
    client = MlflowClient(ledger.tracker.delivery.tracker.address)
    experiment = client.get_experiment_by_name(ledger.spec.name)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if SWEEP in run.data.tags]
    children = {run.data.tags[FINGERPRINT]: run for run in runs if FINGERPRINT in run.data.tags}
    assert len(children) == len(runs) - 1
    return parent, children


# -- the search box -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """The demo over the axes of the page, without its training: most trials completed, one was stopped, one diverged."""
    folder = tmp_path_factory.mktemp("demo")
    axes = {"model.hidden_size": [16, 24, 32], "model.l_cycles": [1, 3], "model.supervision_steps": [1, 4]}
    overrides = [f"measure.vary.{path}={values}" for path, values in axes.items()]
    spec = load_spec(ROOT / "sweeps/specs/demo.yaml", [f"storage={folder / 'runs'}", *overrides])
    store = Store(spec.location)
    store.create()
    tracker = EventRecorder(spec, Spool(store.driver_folder / "spool"), store)
    tracker._tags |= {"git.dirty": "true"}
    ledger = reconcile(spec, store, tracker)
    for number in range(len(ledger.spec.design)):
        config = ledger.ask()
        assert config is not None
        scores: dict[str, Any] = {"test/exact_accuracy": number / 36, "chosen_depth": 1 + number % 8, "data_fingerprint": "d1"}
        if number == 0:
            ledger.row(config.fingerprint, row(1, 0.5))
            ledger.end(config.fingerprint, Pruned())
            continue
        if number == 1:
            scores |= {"outcome": "failed", "reason": "the training loss is nan at step 125"}
        ledger.end(config.fingerprint, ending(config, **scores))
    ledger.tracker.conclude(True, [])
    deliver(ledger)
    return ledger


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_questions_of_the_page_work_as_typed(demo: Ledger, question: str) -> None:
    client = MlflowClient(demo.tracker.delivery.tracker.address)
    experiment = client.get_experiment_by_name("demo")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], filter_string=question)
    assert 0 < len(found) <= 37


def test_the_page_has_ten_questions() -> None:
    assert len(QUESTIONS) == 10


def test_the_page_s_notebook_code_reads_all_curves(tracked: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(import mlflow, pandas.*?)```", PAGE, re.DOTALL)
    monkeypatch.setattr(mlflow.tracking._tracking_service.utils, "_tracking_uri", None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracked.tracker.delivery.tracker.address)
    names: dict[str, Any] = {}
    exec(code.replace("demo", "tiny"), names)
    assert names["curves"]["fingerprint"].nunique() == 4


# -- what a run holds ---------------------------------------------------------------------------------------------


def test_a_trial_s_run_has_its_name_params_costs_tags_data_and_files(tracked: Ledger) -> None:
    parent, children = runs_of(tracked)
    assert parent.info.status == "FINISHED" and parent.data.tags["rrm.kind"] == "measure"
    client = MlflowClient(tracked.tracker.delivery.tracker.address)
    for fingerprint, run in children.items():
        config, record = stored_trial(tracked, fingerprint), tracked.results[fingerprint]
        assert run.info.run_name == f"width={config.model.hidden_size} n={config.model.l_cycles} seed0"
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id and run.info.status == "FINISHED"
        assert run.data.params == {name: str(value) for name, value in {**config.flat(), "seed": 0}.items()}
        for cost in ("params", "params_recursed", "train_flops", "inference_flops", "layers_executed", "examples_per_second"):
            assert run.data.metrics[cost] == record[cost]
        assert run.data.metrics["peak_memory_bytes"] > 1e6 and run.data.tags["device"] == "cpu"
        assert {"version.torch", "hardware", "host", "mlflow.source.git.commit", "git.dirty"} <= set(run.data.tags)
        (data,) = run.inputs.dataset_inputs
        assert data.dataset.digest == record["data_fingerprint"] and data.dataset.name == "sudoku4"
        assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"trial.yaml", "items.parquet", "thinking.npz"}
    names = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert {"spec.yaml", CURVES} <= names <= {"spec.yaml", CURVES, "code.diff"}


def test_curves_come_from_one_file_and_equal_those_read_point_by_point(tracked: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = tracked.tracker.delivery.tracker.address
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "get_metric_history", None)  # reading point by point fails
        stored = read_runs(uri, "tiny")
    with monkeypatch.context() as patch:
        patch.setattr("sweeps.tracking.mlflow.reader.read_curves", lambda _: (SCHEMA.empty_table(), {}))
        asked = read_runs(uri, "tiny")
    assert stored is not None and asked is not None
    assert sorted(map(str, stored.curves.to_pylist())) == sorted(map(str, asked.curves.to_pylist()))
    told = {(p["fingerprint"], p["metric"], p["at"]): p["value"] for p in stored.curves.to_pylist()}
    for fingerprint, result in tracked.store.results().items():
        for point in result["curves"]:
            assert told[fingerprint, point["metric"], point["at"]] == point["value"]


# -- interrupted and continued ------------------------------------------------------------------------------------


def test_an_interrupted_trial_waits_and_goes_on_under_the_same_run(open_ledger: Callable) -> None:
    sections = measure_sections()
    statuses = []
    for step in (4, 8, 12):
        ledger = open_ledger(sections)
        ledger.tracker.run()
        config = ledger.ask()
        ledger.row(config.fingerprint, row(step, 1.0 / step))
        deliver(ledger)
        running = runs_of(ledger)
        ledger.close()
        deliver(ledger)
        waiting = runs_of(ledger)
        for parent, children in (running, waiting):
            statuses.append((parent.info.status, children[config.fingerprint].info.status))
    assert statuses == [("RUNNING", "RUNNING"), ("KILLED", "SCHEDULED")] * 3

    ledger = open_ledger(sections)
    while (config := ledger.ask()) is not None:
        ledger.end(config.fingerprint, ending(config))
    ledger.tracker.conclude(True, [])
    deliver(ledger)
    parent, children = runs_of(ledger)
    assert parent.info.status == "FINISHED" and Counter(run.info.status for run in children.values()) == {"FINISHED": 4}
    found = read_runs(ledger.tracker.delivery.tracker.address, "tiny")
    assert found is not None
    points = Counter((point["fingerprint"], point["metric"], point["at"]) for point in found.curves.to_pylist())
    assert max(points.values()) == 1
    assert sorted(at for _, metric, at in points if metric == "val_curve/nll") == [4, 8, 12]


def test_a_larger_design_opens_the_sweep_s_run_again(open_ledger: Callable, tmp_path: Path) -> None:
    sections = measure_sections()
    for seeds in (1, 2):
        sections["measure"]["seeds"] = seeds
        ledger = open_ledger(sections)
        ledger.tracker.run()
        deliver(ledger)
        assert runs_of(ledger)[0].info.status == "RUNNING"
        while (config := ledger.ask()) is not None:
            ledger.end(config.fingerprint, ending(config))
        ledger.tracker.conclude(True, [])
        deliver(ledger)
        parent, children = runs_of(ledger)
        assert parent.info.status == "FINISHED" and len(children) == 4 * seeds
    client = MlflowClient(ledger.tracker.delivery.tracker.address)
    spec = Path(client.download_artifacts(parent.info.run_id, "spec.yaml", str(tmp_path))).read_text()
    assert "seeds: 2" in spec


def test_seeds_from_before_and_after_an_axis_was_added_have_one_cell(open_ledger: Callable) -> None:
    sections = measure_sections()
    wide = sections | {"measure": sections["measure"] | {"seeds": 2}}
    narrow = sections | {"measure": {"vary": {"model.l_cycles": [1, 2]}, "seeds": 1}}
    few, many = {"n=1", "n=2"}, {f"width={width} n={n}" for width in (16, 24) for n in (1, 2)}
    for design, cells in ((narrow, few), (wide, many), (narrow, few)):
        ledger = open_ledger(design)
        while (config := ledger.ask()) is not None:
            ledger.end(config.fingerprint, ending(config))
        deliver(ledger)
        runs = [run for fingerprint, run in runs_of(ledger)[1].items() if fingerprint in ledger.results]
        assert {run.data.tags["cell"] for run in runs} == cells
        assert len(runs) == len(cells) * (1 + (design is wide))
    spooled = list(ledger.tracker.spool.events())
    open_ledger(narrow)
    assert list(ledger.tracker.spool.events()) == spooled  # nothing is told twice


def test_a_run_that_arrived_after_all_is_deleted(open_ledger: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server made it, the answer was lost, and it did not show when the writer looked again."""
    ledger = open_ledger(measure_sections())
    delivery = ledger.tracker.delivery
    config = ledger.ask()
    writer = MlflowWriter(delivery.tracker.destination, delivery.spool.events, ledger.store.file)
    events, _ = ledger.tracker.spool.pending()
    create, late = MlflowClient.create_run, []

    def loses_the_answer(client: MlflowClient, *given: Any, **named: Any) -> Run:
        if not late and FINGERPRINT in named["tags"]:
            late.append(lambda: create(client, *given, **named))
            raise ConnectionError("no answer")
        return create(client, *given, **named)

    monkeypatch.setattr(MlflowClient, "create_run", loses_the_answer)
    with pytest.raises(ConnectionError):
        writer.deliver(events)
    writer.deliver(events)
    late[0]()
    ledger.end(config.fingerprint, ending(config))
    ledger.tracker.conclude(True, [])
    writer.deliver(ledger.tracker.spool.pending()[0])
    _, children = runs_of(ledger)
    assert children[config.fingerprint].data.metrics["test/nll"] == 0.5


def test_a_store_mlflow_and_its_own_csv_agree_to_the_last_digit(tracked: Ledger, tmp_path: Path) -> None:
    stored = load(tracked.store.location)
    write_report(replace(build_report(stored), figures=[]), tmp_path, "tiny", [])  # figures take seconds
    others = {
        "mlflow": load("tiny", tracked.tracker.delivery.tracker.address),
        "csv": load_csv(tmp_path / "trials.csv", tmp_path / "curves.csv"),
        "parquet": load_csv(tmp_path / "trials.parquet", tmp_path / "curves.parquet"),
    }
    key = ["fingerprint", "metric", "axis", "at", "binned_by", "difficulty"]
    for name, other in others.items():
        ours, theirs = (tables.trials.set_index("fingerprint").sort_index() for tables in (stored, other))
        for column in set(ours) & set(theirs):
            assert list(ours[column].fillna("")) == list(theirs[column].fillna("")), (name, column)
        assert {"test/nll", "params_recursed", "recursion", "train_flops", "model.hidden_size", "outcome"} <= set(theirs)
        told = []
        for tables in (stored, other):
            points = tables.curves[tables.curves["axis"] == "depth"]
            points = points.assign(binned_by=points["binned_by"].fillna(""), difficulty=points["difficulty"].fillna(-1))
            told.append(points.set_index(key)["value"].to_dict())
        assert told[0] == told[1], name


@pytest.mark.more
def test_the_report_lies_with_the_run_of_its_sweep(tracked: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a store and from MLflow alike; items come out of both, and what is in them is the same."""
    uri = tracked.tracker.delivery.tracker.address
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    (parent,) = client.search_runs([experiment.experiment_id], f"tags.`{SWEEP}` = 'tiny'")
    for arguments in ([tracked.store.location], ["tiny", "--tracking-uri", uri]):
        monkeypatch.setattr("sys.argv", ["rrm-analyze", *arguments, "--out", str(tmp_path / "out")])
        analyze()
        there = {file.path for file in client.list_artifacts(parent.info.run_id, "report")}
        assert {"report/report.html", "report/fits.json", "report/trials.csv", "report/seeds.png", "report/seeds.svg"} <= there
    stored, from_mlflow = load(tracked.store.location).items, load("tiny", uri).items
    key = ["fingerprint", "summary", "depth", "at"]
    assert len(stored) and stored.sort_values(key, ignore_index=True).equals(from_mlflow.sort_values(key, ignore_index=True))


def test_a_report_that_mlflow_cannot_take_is_a_line_and_no_failure(
    tracked: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/absent.db")
    (tmp_path / "report.html").write_text("a report")
    put_into_mlflow([place_of(tracked.store)], tmp_path)
    assert "not in MLflow:" in capsys.readouterr().out and (tmp_path / "report.html").exists()
    assert not (tmp_path / "absent.db").exists()
