"""A measure sweep whose scoring has changed is scored from the weights of its finished trials, and nothing is trained."""

import io
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from analysis.data.tables import load
from lightning_modules.columns import TRAINING
from lightning_modules.record import Record
from lightning_modules.trial_folder import BEST, CHECKPOINT, ITEMS, THINKING, WEIGHTS
from lightning_modules.yaml_file import write_yaml
from rrm.errors import UserError
from sweeps.cli.status import read_status
from sweeps.driver.capacity import Capacity
from sweeps.driver.ledger import Ledger
from sweeps.driver.live_table import LiveTable
from sweeps.driver.reconcile import reconcile
from sweeps.driver.tune import Ask
from sweeps.planning.plan import print_plan
from sweeps.spec.load_spec import load_spec
from sweeps.spec.resources import Resources
from sweeps.store.store import Store
from sweeps.tracking.mlflow import FINGERPRINT, SWEEP
from sweeps.tracking.recorder import EventRecorder
from sweeps.tracking.spool import Spool
from sweeps.worker.messages import Job
from tests.sweeps.conftest import Sections, end_here, measure_sections, run_here, search_sections
from tests.sweeps.tracking.test_catching_up import deliver, find_runs

DEEPER = {"eval__max_depth": 6, "eval__halting": "convergence"}


def sections(**changes: Any) -> Sections:
    """Two cells of one seed."""
    chosen = measure_sections(fit__budget__amount=4, **changes)
    chosen["measure"]["vary"] = {"model.hidden_size": [16, 24]}
    return chosen | {"tracking": {"models": 0}}


@pytest.fixture
def finished(open_ledger: Callable) -> Ledger:
    """A sweep of two trials that has ended."""
    ledger: Ledger = open_ledger(sections())
    run_here(ledger)
    ledger.close()
    return ledger


def plan(ledger: Ledger) -> list[str]:
    file = io.StringIO()
    print_plan(ledger.spec, Console(file=file))
    return file.getvalue().splitlines()


def by_width(ledger: Ledger) -> list[Record]:
    return sorted(ledger.results.values(), key=lambda record: record["model.hidden_size"])


def test_finished_trials_are_scored_anew_and_keep_what_their_training_has_cost(
    finished: Ledger, open_ledger: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    before, rows = finished.store.results(), finished.store.rows()
    ledger: Ledger = open_ledger(sections(**DEEPER))
    assert not ledger.results
    with caplog.at_level(logging.INFO, "sweeps.driver"):
        run_here(ledger)
    assert ledger.finished and len(ledger.results) == 2
    for donor, record in zip(by_width(finished), by_width(ledger), strict=True):
        assert record["scored_from"] == donor["fingerprint"] != record["fingerprint"]
        assert {name: record[name] for name in TRAINING} == {name: donor[name] for name in TRAINING}
        assert f"trial {record['fingerprint']} is scored from the weights of trial {donor['fingerprint']}" in caplog.messages
        assert all(ledger.store.file(record["fingerprint"], name) for name in (WEIGHTS, BEST, ITEMS, THINKING))
        assert ledger.store.file(record["fingerprint"], CHECKPOINT) is None
        result = ledger.store.results()[record["fingerprint"]]
        assert max(point["at"] for point in result["curves"] if point["metric"] == "depth/exact_accuracy") == 6
        assert [p for p in result["curves"] if p["axis"] == "step"] == [
            p for p in before[donor["fingerprint"]]["curves"] if p["axis"] == "step"
        ]
    assert ledger.store.rows() == rows  # nothing was trained
    assert {name: record for name, record in ledger.store.results().items() if name in before} == before
    assert not (again := open_ledger(sections(**DEEPER))).ask() and len(again.results) == 2
    tables = load(ledger.store.location)
    assert set(tables.completed["fingerprint"]) == set(ledger.results) and len(tables.trials) == 4


def test_the_worker_gets_the_donor_and_a_killed_driver_leaves_each_trial_scored_once(
    finished: Ledger, open_ledger: Callable
) -> None:
    killed: Ledger = open_ledger(sections(**DEEPER))
    job = Job.from_config(Ask(killed, Capacity(Resources(max_concurrent=2))).suggest("0"))
    assert job.donor in finished.results
    ledger: Ledger = open_ledger(sections(**DEEPER))
    run_here(ledger)
    assert ledger.finished and {record["scored_from"] for record in ledger.results.values()} == set(finished.results)


def test_plan_live_table_and_status_count_what_is_scored_and_what_is_trained(finished: Ledger, open_ledger: Callable) -> None:
    wider = sections(**DEEPER)
    wider["measure"]["vary"] = {"model.hidden_size": [16, 24, 32]}
    ledger: Ledger = open_ledger(wider)
    line = next(line for line in plan(ledger) if line.startswith("3 trials"))
    assert line.startswith("3 trials: 2 scored from the weights of other trials, 1 trained, about ")
    table = LiveTable(ledger, Console())
    run_here(ledger)
    assert "tiny: 3 of 3 trials | 2 scored from weights of other trials | best" in table.summary()
    assert table._flops_left() == 0
    assert "(3 completed; 2 scored from the weights of other trials)" in read_status(ledger.store).lines()[0]
    assert any(line.startswith("3 of 3 trials are finished; nothing to run") for line in plan(ledger))


def test_a_trial_whose_donor_has_lost_its_weights_is_trained_and_plan_and_log_name_the_file(
    finished: Ledger, open_ledger: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    donor = by_width(finished)[0]["fingerprint"]
    missing = Path(finished.store.where(donor), WEIGHTS)
    missing.unlink()
    ledger: Ledger = open_ledger(sections(**DEEPER))
    assert any(line.startswith("2 trials: 1 scored from the weights of other trials, 1 trained, about") for line in plan(ledger))
    cause = f"weights.pt of 1 finished trial with the same training is missing, such as {missing}"
    assert f"trained anew, because {cause}" in plan(ledger)
    run_here(ledger)
    narrow, wide = by_width(ledger)
    assert "scored_from" not in narrow and wide["scored_from"] == by_width(finished)[1]["fingerprint"]
    assert f"trial {narrow['fingerprint']} is trained: {missing} is missing" in caplog.messages


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(file.read_bytes()[:50])], ids=["removed", "cut"])
def test_a_trial_whose_donor_loses_its_weights_after_the_hand_out_is_trained(
    finished: Ledger, open_ledger: Callable, damage: Callable[[Path], Any]
) -> None:
    ledger: Ledger = open_ledger(sections(**DEEPER))
    config = ledger.ask()
    damage(Path(finished.store.where(ledger.live[config.fingerprint].donor), WEIGHTS))
    ledger.end(config.fingerprint, end_here(ledger, config))
    record = ledger.results[config.fingerprint]
    assert record["outcome"] == "completed" and "scored_from" not in record


def test_a_design_over_a_setting_of_scoring_trains_each_model_once(open_ledger: Callable) -> None:
    chosen = sections()
    chosen["measure"]["vary"]["eval.halting"] = ["fixed", "q", "convergence"]
    ledger: Ledger = open_ledger(chosen)
    assert any(line.startswith("6 trials: 4 scored from the weights of other trials, 2 trained, about ") for line in plan(ledger))
    first, second = ledger.ask(), ledger.ask()
    assert first.model.hidden_size != second.model.hidden_size and ledger.ask() is None and not ledger.finished
    for config in (first, second):
        ledger.end(config.fingerprint, end_here(ledger, config))
    run_here(ledger)
    origins = [record.get("scored_from") for record in ledger.results.values()]
    assert sorted(filter(None, origins)) == sorted([first.fingerprint, second.fingerprint] * 2) and ledger.finished


def test_of_trials_with_the_same_training_that_were_begun_one_goes_on_and_the_others_are_scored(open_ledger: Callable) -> None:
    chosen = sections()
    chosen["measure"]["vary"] = {"eval.halting": ["fixed", "q", "convergence"]}
    ledger: Ledger = open_ledger(chosen)
    names = list(ledger.queue.design)
    for name, config in ledger.queue.design.items():
        ledger.store.write_trial(name, write_yaml(config.resolved()))
    again: Ledger = open_ledger(chosen)
    first = again.ask()
    assert first.fingerprint in names and again.ask() is None
    again.end(first.fingerprint, end_here(again, first))
    run_here(again)
    assert [record["scored_from"] for record in again.results.values() if "scored_from" in record] == [first.fingerprint] * 2


def test_a_model_that_is_scored_in_several_ways_is_logged_once(open_ledger: Callable) -> None:
    chosen = sections()
    chosen["measure"]["vary"] = {"model.hidden_size": [16, 24], "eval.max_depth": [4, 6]}
    ledger: Ledger = open_ledger(chosen)
    run_here(ledger)
    best = ledger.best(4)
    assert len(ledger.results) == 4 and sorted(record["model.hidden_size"] for record in best) == [16, 24]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"word"])
def test_a_trial_whose_file_is_damaged_is_no_donor(finished: Ledger, open_ledger: Callable, content: bytes) -> None:
    Path(finished.store.where(max(finished.results)), "trial.yaml").write_bytes(content)
    lines = plan(open_ledger(sections(**DEEPER)))
    assert any(line.startswith("2 trials: 1 scored from the weights of other trials, 1 trained, about ") for line in lines)


def test_a_trial_that_has_begun_to_train_goes_on_training(finished: Ledger, open_ledger: Callable) -> None:
    first: Ledger = open_ledger(sections(**DEEPER))
    config = first.ask()
    row = {"step": 1, "time": 0, "metrics": {"val_curve/exact_accuracy": 0.1, "val_curve/nll": 0.5}, "used": {"steps": 1}}
    first.row(config.fingerprint, row)
    again: Ledger = open_ledger(sections(**DEEPER))
    assert again.ask() == config and again.live[config.fingerprint].donor is None


def test_a_changed_training_and_a_changed_scoring_of_a_search_are_refused(finished: Ledger, open_ledger: Callable) -> None:
    with pytest.raises(UserError, match=r"trial.eval.validations was 3 and is 2"):
        open_ledger(sections(eval__validations=2))
    search: Ledger = open_ledger(search_sections(fit__budget__amount=1) | {"name": "search"})
    config = search.ask()
    search.end(config.fingerprint, end_here(search, config))
    with pytest.raises(UserError, match=r"trial.eval.halting was 'fixed' and is 'convergence'"):
        open_ledger(search_sections(fit__budget__amount=1, **DEEPER) | {"name": "search"})


def test_records_of_an_earlier_version_without_a_training_fingerprint_have_weights_to_score(
    finished: Ledger, open_ledger: Callable
) -> None:
    for name in finished.results:
        path = Path(finished.store.where(name), "result.json")
        fields = json.loads(path.read_text())
        del fields["training_fingerprint"]
        path.write_text(json.dumps(fields))
    ledger: Ledger = open_ledger(sections(**DEEPER))
    assert ledger.live[ledger.ask().fingerprint].donor in finished.results


def test_mlflow_has_a_run_of_each_scoring_below_the_sweep(finished: Ledger, open_ledger: Callable) -> None:
    ledger: Ledger = open_ledger(sections(**DEEPER))
    run_here(ledger)
    deliver(ledger)
    client, runs = find_runs(ledger.tracker.delivery.tracker.address)
    (parent,) = [run for run in runs if SWEEP in run.data.tags]
    children = {run.data.tags[FINGERPRINT]: run for run in runs if FINGERPRINT in run.data.tags}
    assert children.keys() == finished.results.keys() | ledger.results.keys()
    for name, record in ledger.results.items():
        run, donor = children[name], children[record["scored_from"]]
        assert run.info.status == "FINISHED" and run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.tags["scored_from"] == record["scored_from"] and "scored_from" not in donor.data.tags
        assert run.data.metrics["train_flops"] == donor.data.metrics["train_flops"]
        curves = [client.get_metric_history(one.info.run_id, "val_curve/nll") for one in (run, donor)]
        assert [(point.step, point.value) for point in curves[0]] == [(point.step, point.value) for point in curves[1]] != []
        assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"trial.yaml", ITEMS, THINKING}


def test_trials_on_an_object_store_are_scored_anew(s3: str, write_spec: Callable, tmp_path: Path) -> None:
    def ledger_of(chosen: Sections) -> Ledger:
        spec = load_spec(write_spec(chosen | {"storage": s3}))
        store = Store(spec.location)
        store.create()
        return reconcile(spec, store, EventRecorder(spec, Spool(tmp_path / "spool"), store))

    first = ledger_of(sections())
    run_here(first)
    ledger = ledger_of(sections(**DEEPER))
    run_here(ledger)
    assert {record["scored_from"] for record in ledger.results.values()} == set(first.results)
    assert all(ledger.store.file(name, file) for name in ledger.results for file in (WEIGHTS, ITEMS, THINKING))
