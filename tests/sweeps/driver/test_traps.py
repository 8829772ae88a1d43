"""Traps of Ray Tune, Optuna, Lightning and MLflow used together: each is sprung with the parts as they are shipped, then with ours.

What is shown elsewhere is listed at the end, by trap.
"""

import ast
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import mlflow
import optuna
import pytest
import torch
from lightning.pytorch.demos.boring_classes import BoringModel
from optuna.trial import TrialState
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from lightning_modules.fit import fit
from sweeps.cli.submit import STOP_ENVIRONMENT
from sweeps.driver.capacity import Capacity
from sweeps.driver.ledger import Ledger
from sweeps.driver.tune import Ask, Decide, End
from sweeps.tracking import delivery
from sweeps.tracking.mlflow.reader import read_runs
from sweeps.worker.messages import Completed, Pruned
from tests.conftest import ROOT, tiny_trial
from tests.sweeps.conftest import Sections, ending, load_study, record_of, search_sections
from tests.sweeps.tracking.mlflow.test_writer import EVENTS, send, writer

SPACE = {"lr": optuna.distributions.FloatDistribution(1e-4, 1e-2, log=True)}


def shipped_search(tmp_path: Path, **settings: Any) -> OptunaSearch:
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 'shipped.db'}")
    return OptunaSearch(SPACE, **({"metric": "nll", "mode": "min", "storage": storage} | settings))


def study_of(ledger: Ledger) -> optuna.Study:
    return load_study(ledger.store.driver_folder)


def states(folder: Path, name: str) -> list[TrialState]:
    """States of the trials of the only study in a database."""
    url = f"sqlite:///{folder / name}"
    return [trial.state for trial in optuna.load_study(study_name=None, storage=url).trials]


def row(step: int, nll: float) -> dict[str, Any]:
    scores = {"val_curve/nll": nll, "val_curve/exact_accuracy": 0.1, "train_curve/loss": 1.0}
    return {"step": step, "time": step, "metrics": scores, "used": {"steps": step, "train_flops": 1e6 * step}}


def asha() -> Sections:
    sections = search_sections(fit__budget__amount=9)
    sections["search"]["scheduler"] = {"kind": "asha", "grace": 1 / 9, "reduction": 3}
    return sections


def test_a_trial_that_the_scheduler_stops_is_pruned_and_not_complete(open_ledger: Callable, tmp_path: Path) -> None:
    shipped = shipped_search(tmp_path)
    shipped.suggest("a")
    shipped.on_trial_result("a", {"nll": 0.9, "training_iteration": 1})
    shipped.on_trial_complete("a", result={"nll": 0.9})  # what Tune tells a searcher when ASHA stops a trial
    assert states(tmp_path, "shipped.db") == [TrialState.COMPLETE]

    ledger = open_ledger(asha())
    stopped = {}
    for nll in (1.0, 2.0, 3.0):
        config = ledger.ask()
        stopped[config.fingerprint] = ledger.row(config.fingerprint, row(1, nll))
    worst = list(stopped)[-1]
    assert stopped[worst]
    ledger.end(worst, Pruned())
    trial = study_of(ledger).trials[-1]
    assert trial.state is TrialState.PRUNED and trial.intermediate_values == {1: 3.0}


@pytest.mark.parametrize("values", [{"nll": float("nan"), "cost": 1.0}, {"nll": 0.5}])
def test_a_missing_or_infinite_objective_fails_and_does_not_run_for_ever(
    open_ledger: Callable, tmp_path: Path, values: dict[str, float]
) -> None:
    shipped = shipped_search(tmp_path, metric=["nll", "cost"], mode=["min", "min"])
    shipped.suggest("a")
    shipped.on_trial_complete("a", result=values | ({} if "cost" in values else {"cost": None}))
    assert states(tmp_path, "shipped.db") == [TrialState.RUNNING]

    ledger = open_ledger(search_sections())
    config = ledger.ask()
    record = record_of(config) | {"val/nll": values["nll"]}
    if "cost" not in values:
        del record["val/nll"]
    ledger.end(config.fingerprint, Completed(record, []))
    trial = study_of(ledger).trials[0]
    assert trial.state is TrialState.FAIL and "val/nll is" in trial.user_attrs["reason"]
    assert ledger.results[config.fingerprint]["outcome"] == "failed"


def test_after_a_crash_no_trial_runs_for_ever(open_ledger: Callable, tmp_path: Path) -> None:
    shipped_search(tmp_path).suggest("a")
    shipped_search(tmp_path)  # the next driver
    assert states(tmp_path, "shipped.db") == [TrialState.RUNNING]

    first = open_ledger(search_sections())
    started = first.ask()
    first.queue.study.ask()  # killed between the proposal and the start
    second = open_ledger(search_sections())
    assert [trial.state for trial in study_of(second).trials] == [TrialState.RUNNING, TrialState.FAIL, TrialState.WAITING]
    assert second.ask().fingerprint == started.fingerprint  # and goes on


def test_a_restarted_search_does_not_repeat_itself(open_ledger: Callable, tmp_path: Path) -> None:
    points = [shipped_search(tmp_path, study_name=name, seed=0).suggest("a") for name in ("first", "first")]
    assert points[0] == points[1]

    first = open_ledger(search_sections())
    known = first.ask()
    first.end(known.fingerprint, ending(known))
    assert open_ledger(search_sections()).ask().optim.lr != known.optim.lr


def test_two_sweeps_do_not_share_a_study(open_ledger: Callable, tmp_path: Path) -> None:
    for _ in range(2):  # two sweeps of different meaning
        shipped_search(tmp_path).suggest("a")
    assert len(states(tmp_path, "shipped.db")) == 2  # in one study, named "optuna"
    ledger = open_ledger(search_sections())
    assert study_of(ledger).study_name.startswith(f"{ledger.spec.name}@")


def test_points_of_the_spec_are_tried_once(open_ledger: Callable, tmp_path: Path) -> None:
    for _ in range(2):
        shipped_search(tmp_path, points_to_evaluate=[{"lr": 1e-3}])
    assert states(tmp_path, "shipped.db") == [TrialState.WAITING] * 2

    sections = search_sections()
    sections["search"]["points"] = [{"optim.lr": 1e-3, "model.hidden_size": 16}]
    for _ in range(2):
        ledger = open_ledger(sections)
    assert [trial.state for trial in study_of(ledger).trials] == [TrialState.WAITING]


def test_the_rungs_survive_a_restart(open_ledger: Callable) -> None:
    shipped = ASHAScheduler(metric="nll", mode="min", max_t=9)
    assert "_scheduler_alg" not in pickle.loads(pickle.dumps(shipped)).__dict__ and not shipped._brackets[0]._rungs[0][1]

    def judged(restart: bool) -> list[bool]:
        ledger, decisions = open_ledger(asha() | {"name": f"restart_{restart}".lower()}), []
        for nll in (1.0, 0.5, 2.0, 3.0):
            config = ledger.ask()
            decisions.append(ledger.row(config.fingerprint, row(1, nll)))
            ledger.end(config.fingerprint, Pruned() if decisions[-1] else ending(config, nll))
            if restart:
                ledger = open_ledger(asha() | {"name": ledger.spec.name})
        return decisions

    assert judged(restart=True) == judged(restart=False) == [False, False, True, True]


def test_nothing_of_ours_is_pickled_and_no_password_lies_in_tune_s_files(
    open_ledger: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = OptunaSearch(lambda trial: None, metric="nll", mode="min")
    with pytest.raises((AttributeError, pickle.PicklingError)):  # and Tune raises it again, which ends the sweep
        shipped.save(str(tmp_path / "searcher.pkl"))
    shipped = shipped_search(tmp_path, storage=optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 'secret.db'}"))
    shipped.save(str(tmp_path / "searcher.pkl"))
    assert b"secret" in (tmp_path / "searcher.pkl").read_bytes()

    ledger = open_ledger(search_sections())
    capacity = Capacity(ledger.spec.resources)
    ask, decide = Ask(ledger, capacity), Decide(ledger)
    ask.save(str(tmp_path / "ask.pkl"))
    assert (tmp_path / "ask.pkl").read_bytes() == b""
    for adapter in (ask, decide, End(ledger, capacity, decide, print)):
        assert adapter.__getstate__() == {}


def test_several_objectives_may_be_stopped_early(open_ledger: Callable, tmp_path: Path) -> None:
    shipped = shipped_search(tmp_path, metric=["nll", "cost"], mode=["min", "min"])
    shipped.suggest("a")
    shipped.on_trial_result("a", {"nll": 0.5, "cost": 1.0, "training_iteration": 1})
    assert not shipped._ot_study.trials[0].intermediate_values and len(shipped.metric) == 2  # a scheduler takes one metric

    sections = asha()
    sections["search"]["objectives"] = [{"metric": "val/nll", "goal": "minimize"}, {"metric": "params", "goal": "minimize"}]
    ledger = open_ledger(sections)
    decisions = []
    for nll in (1.0, 2.0, 3.0):
        config = ledger.ask()
        decisions.append(ledger.row(config.fingerprint, row(1, nll)))
        ledger.end(config.fingerprint, Pruned() if decisions[-1] else ending(config, nll, params=100))
    assert decisions == [False, True, True]
    assert ledger.ask() is not None  # one PRUNED trial with intermediate values would make TPE raise here


class Stopped(pl.Callback):
    """Ends a fit as `tune.report` does, and writes down which hooks ran."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_train_batch_end(self, *given: Any) -> None:
        raise SystemExit(0)

    def on_exception(self, *given: Any) -> None:
        self.seen.append("exception")

    def on_train_end(self, *given: Any) -> None:
        self.seen.append("end")


def test_a_stop_ends_a_fit_in_order(tmp_path: Path) -> None:
    shipped = Stopped()
    trainer = pl.Trainer(
        default_root_dir=tmp_path, max_steps=3, callbacks=[shipped], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
    )  # fmt: skip
    with pytest.raises(SystemExit):
        trainer.fit(BoringModel())
    assert shipped.seen == ["exception"]

    result = fit(tiny_trial(), tmp_path, lambda row: False)  # the reporting callback takes the SystemExit and says stop
    assert result.record["outcome"] == "pruned" and (tmp_path / "checkpoint.ckpt").exists()


def test_a_checkpoint_holds_nothing_but_tensors_and_plain_values(tmp_path: Path) -> None:
    shipped = tmp_path / "shipped.ckpt"
    torch.save({"hyper_parameters": {"data": tmp_path}}, shipped)
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        torch.load(shipped, weights_only=True)  # what Lightning does on `fit(ckpt_path=...)`

    fit(tiny_trial(), tmp_path, lambda row: True)
    assert torch.load(tmp_path / "checkpoint.ckpt", weights_only=True)["global_step"] == 12


def test_a_dead_tracking_server_costs_the_sweep_nothing(
    open_ledger: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where MLflow puts artifacts of a database that it is named
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    ledger = open_ledger(search_sections())
    ledger.tracker.delivery.start()
    started = time.monotonic()
    config = ledger.ask()
    ledger.row(config.fingerprint, row(1, 0.5))
    ledger.end(config.fingerprint, ending(config))
    assert time.monotonic() - started < 2.0
    monkeypatch.setattr(delivery, "UNREACHABLE_SECONDS", 0.1)
    assert not ledger.tracker.delivery.close()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'later.db'}")
    later = open_ledger(search_sections()).tracker.delivery
    later.start()
    assert later.close()
    found = read_runs(f"sqlite:///{tmp_path / 'later.db'}", "tiny")
    assert found is not None and [run["outcome"] for run in found.records] == ["completed"]


def test_a_resumed_trial_has_one_run_and_each_point_once(tmp_path: Path) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'shipped.db'}")
    run = client.create_run(client.create_experiment("shipped"))
    for _ in range(2):
        client.log_metric(run.info.run_id, "nll", 0.5, step=1)  # each call with its own time, so that both are kept
        time.sleep(0.002)
    assert len(client.get_metric_history(run.info.run_id, "nll")) == 2

    for _ in range(2):  # each a driver that knows nothing of the other
        send(writer(f"sqlite:///{tmp_path / 'ours.db'}", tmp_path, "tiny"), EVENTS)
    found = read_runs(f"sqlite:///{tmp_path / 'ours.db'}", "tiny")
    assert found is not None and len(found.records) == 1
    assert [point["at"] for point in found.curves.to_pylist() if point["metric"] == "val_curve/nll"] == [4, 8]


def test_a_job_is_stopped_by_a_signal_that_tune_saves_on() -> None:
    assert STOP_ENVIRONMENT["RAY_JOB_STOP_SIGNAL"] == "SIGINT" and int(STOP_ENVIRONMENT["RAY_JOB_STOP_WAIT_TIME_S"]) >= 60


def test_a_search_without_a_feasible_trial_has_no_best_one(open_ledger: Callable) -> None:
    sections = search_sections()
    sections["search"] |= {"constraints": ["wall_seconds <= 1"], "num_trials": 2}
    ledger = open_ledger(sections)
    while (config := ledger.ask()) is not None:
        ledger.end(config.fingerprint, ending(config, wall_seconds=5.0))
    with pytest.raises(ValueError, match="feasible"):
        _ = study_of(ledger).best_trial
    assert ledger.spec.search.best(list(ledger.results.values()), 1) == []


RUN, FAULTS, FIT = "sweeps/driver/test_run.py", "sweeps/driver/test_faults.py", "lightning_modules/test_fit.py"
ELSEWHERE = {
    "a lost process is retried for ever": (
        FAULTS,
        "test_every_failure_has_its_reason_and_the_rest_is_unharmed",
    ),
    "Ray's memory monitor ends Tune as a whole": (FAULTS, "test_a_trial_that_rays_memory_monitor_kills_fails_alone"),
    "a restore starts over": (RUN, "test_a_killed_driver_is_continued_and_nothing_is_doubled"),
    "a finished experiment takes no more trials": (RUN, "test_a_measure_sweep_from_yaml_to_png"),
    "SIGTERM loses what was not saved": (RUN, "test_a_stop_is_clean_and_prints_how_to_continue"),
    "only one pending trial with a searcher": ("sweeps/driver/test_capacity.py", "test_trials_that_fit_are_counted"),
    "a changed param aborts the sweep": (
        "sweeps/tracking/mlflow/test_writer.py",
        "test_a_refused_param_keeps_nothing_else_from_arriving",
    ),
    "constraints do not reach Optuna": ("sweeps/driver/test_search.py", "test_a_constraint_on_what_is_measured_reaches_optuna"),
    "a trainer's steps are not optimizer steps": (FIT, "test_every_budget_ends_the_training_at_its_amount"),
    "a checkpoint lacks carry and randomness": (FIT, "test_a_resumed_trial_equals_an_uninterrupted_one_bit_for_bit"),
    "workers hold credentials": ("test_architecture.py", "test_models_and_trials_load_neither_ray_nor_mlflow"),
}


@pytest.mark.parametrize(("file", "name"), ELSEWHERE.values(), ids=ELSEWHERE.keys())
def test_what_is_shown_elsewhere_is_there(file: str, name: str) -> None:
    tree = ast.parse((ROOT / "tests" / file).read_text())
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
