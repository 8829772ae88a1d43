"""Two stores and a model that commit e399d62 wrote are continued, analyzed and served (tests/fixtures/stores_e399d62/README.md)."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pandas as pd
import pytest
from rich.console import Console

import analysis.cli
from lightning_modules.config import load_trial
from lightning_modules.fit import fit
from lightning_modules.record import Record, read_result
from sweeps.driver.run import DONE, run_sweep
from sweeps.planning.load_sweep import load_sweep
from sweeps.store.store import Store
from sweeps.tracking.mlflow.reader import read_runs
from tests.conftest import ROOT
from tests.sweeps.conftest import call_in_child, load_study

FIXTURE = ROOT / "tests/fixtures/stores_e399d62"
TRIALS = {"measure": 4, "search": 12}  # that each spec asks for
UNFINISHED = {"measure": "1dcbdf2e589a01c2", "search": "f2c82bc5f83dd1c2"}
PROPOSED = "c5db30c958940c3d"  # what TPE proposed to the old code when it continued the search
CHECKPOINT_STEP = 4  # optimizer steps of 12
VALIDATIONS = 3  # rows of a finished trial
NAMES = {"fingerprint", "sweep"}  # a sampled lr that differs in its last digit gives another fingerprint
SPEEDS = {"wall_seconds", "train_seconds", "examples_per_second", "peak_memory_bytes"}
OTHER_CPU_TOLERANCE = 1e-6  # relative; CPUs with other vector instructions differ by about 1e-8


def copy_stores(folder: Path) -> Path:
    """The storage with both stores, in `folder`."""
    for sweep in TRIALS:
        shutil.copytree(FIXTURE / sweep, folder / "runs" / sweep)
    return folder / "runs"


def list_fingerprints(folder: Path) -> set[str]:
    """Fingerprints of the finished trials of a store as the old code left it."""
    return {path.parent.name for path in folder.glob("trials/*/result.json")}


def read_old(path: Path) -> Record:
    """A `result.json` of the old code, by today's names."""
    result = read_result(path)
    return result.record | {"curves": result.curves}


def repeatable(record: Record) -> dict[Any, Any]:
    """The columns and curve points of a `result.json` that a second run of the trial repeats."""
    columns = {name: value for name, value in record.items() if name not in NAMES | SPEEDS | {"curves", "training_fingerprint"}}
    return columns | {(point["metric"], point["at"]): point["value"] for point in record["curves"]}


def assert_digits(record: Record, old: Record, tolerance: float) -> None:
    new, old = repeatable(record), repeatable(old)
    assert new.keys() == old.keys()
    for name, value in old.items():
        assert new[name] == (pytest.approx(value, rel=tolerance, abs=0) if isinstance(value, float) else value), name


def run_old(sweep: str) -> int:
    return run_sweep(load_sweep(FIXTURE / f"{sweep}.yaml", ["tracking.models=0"]), Console(), "again")


@pytest.fixture(scope="module")
def continued(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The storage after both sweeps were run; no model is logged anew, since the export of one takes seconds."""
    folder = tmp_path_factory.mktemp("continued")
    storage = copy_stores(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        for sweep, trials in TRIALS.items():
            ended = call_in_child(lambda sweep=sweep: run_old(sweep), folder)  # the specs name the storage `runs`
            assert ended.returncode == DONE, ended.stdout + ended.stderr
            finished = len(list_fingerprints(FIXTURE / sweep))
            assert f"{sweep} goes on: {finished} of {trials} trials are finished" in ended.stdout
    return storage


@pytest.fixture(scope="module")
def tolerance() -> float:
    """0 where this machine repeats the digits that the old code gave for a finished trial."""
    finished = FIXTURE / "measure/trials/317ba5f300d39a6b"
    new = json.loads(fit(load_trial(finished / "trial.yaml")).to_json())
    del new["format"]
    return 0.0 if repeatable(new) == repeatable(read_old(finished / "result.json")) else OTHER_CPU_TOLERANCE


@pytest.mark.ray
@pytest.mark.more
@pytest.mark.parametrize("sweep", TRIALS)
def test_finished_trials_of_an_old_store_stay_and_the_missing_ones_are_run_once(continued: Path, sweep: str) -> None:
    store = Store(continued / sweep)
    for fingerprint in list_fingerprints(FIXTURE / sweep):
        for path in (FIXTURE / sweep / "trials" / fingerprint).iterdir():
            assert store.file(fingerprint, path.name) == path.read_bytes(), path
    assert Counter(result["outcome"] for result in store.results().values()) == {"completed": TRIALS[sweep]}
    rows = Counter((line["fingerprint"], line["row"]["step"]) for line in store.rows())
    assert len(rows) == VALIDATIONS * TRIALS[sweep] and max(rows.values()) == 1


@pytest.mark.ray
@pytest.mark.more
@pytest.mark.parametrize("sweep", TRIALS)
def test_an_old_checkpoint_leads_to_the_digits_of_the_old_code(continued: Path, sweep: str, tolerance: float) -> None:
    store, fingerprint = Store(continued / sweep), UNFINISHED[sweep]
    assert [attempt["from_checkpoint"] for attempt in store.attempts(fingerprint)] == [0, CHECKPOINT_STEP]
    old = read_old(FIXTURE / "continued" / sweep / f"{fingerprint}.json")
    assert_digits(store.results()[fingerprint], old, tolerance)


@pytest.mark.ray
@pytest.mark.more
def test_the_sampler_learns_from_the_trials_of_an_old_search(continued: Path, tolerance: float) -> None:
    """TPE models the scores of earlier trials once there are ten: its next proposal is the one that it made to the old code."""
    store = Store(continued / "search")
    results = store.results()
    study = load_study(store.driver_folder)
    told = {trial.user_attrs["fingerprint"]: trial.value for trial in study.trials}
    assert told == {fingerprint: result["val/nll"] for fingerprint, result in results.items()}
    (proposed,) = results.keys() - list_fingerprints(FIXTURE / "search") - {UNFINISHED["search"]}
    assert [attempt["from_checkpoint"] for attempt in store.attempts(proposed)] == [0]
    old = read_old(FIXTURE / "continued/search" / f"{PROPOSED}.json")
    assert_digits(results[proposed], old, tolerance)


@pytest.mark.ray
@pytest.mark.more
def test_mlflow_gets_what_waits_in_an_old_spool_and_what_follows_once(continued: Path) -> None:
    held = read_runs(f"sqlite:///{continued / 'mlflow.db'}", "measure")
    assert held is not None
    assert sorted(record["fingerprint"] for record in held.records) == sorted(Store(continued / "measure").results())
    assert {record["outcome"] for record in held.records} == {"completed"}
    points = Counter((point["fingerprint"], point["metric"], point["at"]) for point in held.curves.to_pylist())
    assert max(points.values()) == 1
    assert sum(metric == "val_curve/nll" for _, metric, _ in points) == VALIDATIONS * TRIALS["measure"]


def test_an_old_store_is_analyzed(typed: Callable, tmp_path: Path) -> None:
    storage = copy_stores(tmp_path)
    ended = typed("runs/measure", main=analysis.cli.main, name="rrm-analyze")
    assert ended.returncode == 0, ended.stderr
    table = pd.read_csv(storage / "measure/report/trials.csv").set_index("fingerprint")
    results = Store(storage / "measure").results()
    assert table["test/nll"].to_dict() == {fingerprint: result["test/nll"] for fingerprint, result in results.items()}
    assert "3 of 3 cells" in (storage / "measure/report/report.html").read_text()


def test_a_model_that_the_old_code_logged_answers_as_it_did(tmp_path: Path) -> None:
    assert "loader_module: sweeps.mlflow_door.served" in (FIXTURE / "model/MLmodel").read_text()
    asked = json.loads((FIXTURE / "answers.json").read_text())
    model = mlflow.pyfunc.load_model(str(shutil.copytree(FIXTURE / "model", tmp_path / "model")))
    answered = model.predict(pd.DataFrame({"grid": asked["grids"]}), params=asked["params"]).to_dict("records")
    for answer, old in zip(answered, asked["predictions"], strict=True):
        assert (answer["answer"], answer["depth"]) == (old["answer"], old["depth"])
        assert answer["confidence"] == pytest.approx(old["confidence"], rel=OTHER_CPU_TOLERANCE)
