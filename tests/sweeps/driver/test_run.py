"""Real sweeps: real Ray, real Optuna, real MLflow on SQLite, from YAML to PNG.

A driver that is to be killed or stopped is a process of its own. The others run in this one, which spares their imports.
"""

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import analysis.cli
from analysis.data.tables import load
from analysis.report.build import build_report
from lightning_modules.config import load_trial
from sweeps.store.store import Store
from sweeps.tracking.mlflow.reader import read_runs
from tests.conftest import ROOT
from tests.sweeps.conftest import command, load_study, measure_sections, run_command, search_sections

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
NO_MODELS = {"tracking": {"models": 0}}  # the export of a model takes seconds


def tracked(tmp_path: Path) -> tuple[list[dict], list[dict]]:
    found = read_runs(f"sqlite:///{tmp_path / 'runs/mlflow.db'}", "tiny")
    assert found is not None
    return found.records, found.curves.to_pylist()


def assert_points_are_single(curves: list[dict]) -> None:
    counts = Counter((point["fingerprint"], point["metric"], point["at"]) for point in curves)
    assert counts and max(counts.values()) == 1


@pytest.mark.ray
def test_a_measure_sweep_from_yaml_to_png(
    write_spec: Callable, typed: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # without --address, a cluster that is named elsewhere is not joined
    sections = measure_sections()
    sections["measure"]["seeds"] = 2
    spec = str(write_spec(sections))

    first = typed("run", spec)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "best trial: width=" in first.stdout and "compare in MLflow: rrm-sweep ui" in first.stdout
    store = Store(tmp_path / "runs/tiny")
    results = store.results()
    assert len(results) == 8 and {r["outcome"] for r in results.values()} == {"completed"}
    for fingerprint in results:
        folder = store.driver_folder / "trials" / fingerprint
        assert load_trial(folder / "trial.yaml").fingerprint == fingerprint
        assert len(store.attempts(fingerprint)) == 1

    records, curves = tracked(tmp_path)
    assert {record["fingerprint"] for record in records} == set(results)
    for record in records:
        stored = results[record["fingerprint"]]
        for name in (
            "outcome",
            "params",
            "train_flops",
            "inference_flops",
            "test/nll",
            "test/exact_accuracy",
            "chosen_depth",
            "data_fingerprint",
        ):
            assert record[name] == stored[name], name
    assert_points_are_single(curves)
    depths = Counter(point["fingerprint"] for point in curves if point["metric"] == "depth/exact_accuracy")
    assert set(depths.values()) == {4}

    written = {path: path.stat().st_mtime_ns for path in store.driver_folder.glob("trials/*/*")}
    second = typed("run", spec)
    assert second.returncode == 0 and "is finished: 8 trials, nothing to run" in second.stdout
    assert {path: path.stat().st_mtime_ns for path in store.driver_folder.glob("trials/*/*")} == written

    analyzed = typed("runs/tiny", main=analysis.cli.main, name="rrm-analyze")
    assert analyzed.returncode == 0, analyzed.stderr
    assert "At equal parameters and equal steps, n 1 to 2" in analyzed.stdout
    report = store.driver_folder / "report"
    assert len(list(report.glob("*.png"))) >= 4 and len(list(report.glob("*.svg"))) >= 4
    assert "At equal parameters and equal steps" in (report / "report.html").read_text()
    assert (report / "trials.csv").read_text().count("\n") == 9

    stored, from_mlflow = load(store.driver_folder), load("tiny", f"sqlite:///{tmp_path / 'runs/mlflow.db'}")
    assert build_report(from_mlflow).answer == build_report(stored).answer

    more = typed("run", spec, "measure.seeds=3")
    assert more.returncode == 0 and "goes on: 8 of 12 trials are finished" in more.stdout
    assert len(store.results()) == 12 and len(tracked(tmp_path)[0]) == 12

    other = typed("run", spec, "trial.optim.lr=1e-2")
    assert (
        other.returncode == 2 and "has finished trials under other settings (trial.optim.lr was 0.001 and is 0.01)" in other.stderr
    )

    same = typed("run", spec, "measure.seeds=3", "trial.eval.batch_size=256")  # the default, stated
    assert same.returncode == 0, same.stderr

    edited = next(store.driver_folder.glob("trials/*/trial.yaml"))
    edited.write_text(edited.read_text().replace("lr: 0.001", "lr: 0.5"))
    refused = typed("run", spec, "measure.seeds=3")
    assert refused.returncode == 2 and "trial.yaml: was edited" in refused.stderr


@pytest.mark.ray
@pytest.mark.more
def test_a_killed_driver_is_continued_and_nothing_is_doubled(write_spec: Callable, typed: Callable, tmp_path: Path) -> None:
    """kill -9 in the middle of training; the same command finishes each trial once, from its checkpoint."""
    spec = str(write_spec(measure_sections(fit__budget__amount=600, eval__validations=30) | NO_MODELS))
    driver = subprocess.Popen(
        command("run", spec), cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    store = Store(tmp_path / "runs/tiny")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(store.rows()) < 10:
        time.sleep(0.1)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    finished_before = store.finished()
    checkpointed = {path.parent.name for path in store.driver_folder.glob("trials/*/checkpoint.ckpt")} - finished_before
    assert checkpointed
    time.sleep(3)  # workers of a dead driver live on for a moment

    again = typed("run", spec)
    assert again.returncode == 0, again.stdout + again.stderr
    results = store.results()
    assert len(results) == 4 and {r["outcome"] for r in results.values()} == {"completed"}
    rows = Counter((row["fingerprint"], row["row"]["step"]) for row in store.rows())
    assert max(rows.values()) == 1 and len(rows) == 4 * 30
    for fingerprint in checkpointed:
        attempts = store.attempts(fingerprint)
        assert attempts[-1]["from_checkpoint"] > 0
    records, curves = tracked(tmp_path)
    assert len(records) == 4 and {record["outcome"] for record in records} == {"completed"}
    assert_points_are_single(curves)
    steps = Counter(point["fingerprint"] for point in curves if point["metric"] == "val_curve/nll")
    assert set(steps.values()) == {30}


@pytest.mark.ray
@pytest.mark.more
def test_a_search_with_asha_tells_pruned_from_completed(write_spec: Callable, typed: Callable, tmp_path: Path) -> None:

    sections = search_sections(fit__budget__amount=27, eval__validations=9)
    sections["search"]["scheduler"] = {"kind": "asha", "grace": 0.2, "reduction": 3}
    ended = typed("run", str(write_spec(sections | NO_MODELS)))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    store = Store(tmp_path / "runs/tiny")
    outcomes = Counter(result["outcome"] for result in store.results().values())
    assert sum(outcomes.values()) == 6 and set(outcomes) == {"completed", "pruned"}
    study = load_study(store.driver_folder)
    states = Counter(trial.state.name for trial in study.trials if "fingerprint" in trial.user_attrs)
    assert states == {"COMPLETE": outcomes["completed"], "PRUNED": outcomes["pruned"]}
    for result in store.results().values():
        assert ("test/nll" in result) == (result["outcome"] == "completed")
    records, _ = tracked(tmp_path)
    assert Counter(record["outcome"] for record in records) == outcomes


@pytest.mark.ray
@pytest.mark.more
def test_a_trial_that_fails_has_its_reason_and_the_others_finish(write_spec: Callable, tmp_path: Path) -> None:
    """One diverges, one takes too long (its batch is huge), one finishes."""
    sections = measure_sections(loss__kind="softmax", optim__kind="adamw", eval__validations=1000)
    sections["measure"]["vary"] = [{"optim.lr": [1e-3, 1e30], "fit.batch_size": 8}, {"fit.batch_size": 30000}]
    sections["resources"] = {"trial_timeout_minutes": 0.2}
    ended = run_command("run", str(write_spec(sections)), cwd=tmp_path)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    results = Store(tmp_path / "runs/tiny").results().values()
    outcomes = {(result["optim.lr"], result["fit.batch_size"]): (result["outcome"], result.get("reason", "")) for result in results}
    assert outcomes[1e-3, 8][0] == "completed"
    assert outcomes[1e30, 8][0] == "failed" and "the training loss is" in outcomes[1e30, 8][1]
    assert outcomes[1e-3, 30000] == ("failed", "took longer than resources.trial_timeout_minutes = 0.2")
    assert ended.stdout.count("failed: ") == 2


@pytest.mark.ray
@pytest.mark.more
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_is_clean_and_prints_how_to_continue(write_spec: Callable, tmp_path: Path, how: signal.Signals) -> None:
    spec = str(write_spec(measure_sections(fit__budget__amount=5000, eval__validations=100) | NO_MODELS))
    driver = subprocess.Popen(
        command("run", spec), cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    store = Store(tmp_path / "runs/tiny")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(store.rows()) < 3:
        time.sleep(0.1)
    driver.send_signal(how)
    sent = time.monotonic()
    output, _ = driver.communicate(timeout=60)
    assert driver.returncode == 130 and time.monotonic() - sent < 15
    assert "continue with: rrm-sweep run" in output
    assert json.loads((store.driver_folder / "design.json").read_text()) and not store.finished()


@pytest.mark.parametrize("resource", ["gpus", "cpus"])
def test_more_than_the_machine_has_is_refused_before_anything_is_made(
    write_spec: Callable, typed: Callable, tmp_path: Path, resource: str
) -> None:
    ended = typed("run", str(write_spec(measure_sections())), f"resources.{resource}=4000")
    assert ended.returncode == 2 and f"resources.{resource}: must be at most what this machine has" in ended.stderr
    assert not (tmp_path / "runs").exists()


def test_a_storage_that_cannot_be_written_is_one_line(write_spec: Callable, typed: Callable) -> None:
    spec = str(write_spec(measure_sections()))
    ended = typed("run", spec, f"storage={spec}")
    assert ended.returncode == 2 and "cannot be written: Not a directory" in ended.stderr and ended.stderr.count("\n") == 1
