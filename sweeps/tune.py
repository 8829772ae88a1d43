"""Tune's door: three thin adapters over the ledger. Asks come from it, rows and ends go to it; nothing of ours is pickled."""

import json
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from sweeps.ledger import Ledger
from sweeps.spec import Resources
from sweeps.trial import ENDING, ROW, run_trial

GIGABYTE = 1e9
SCRATCH = "ray"  # Tune's own files, beside the trials; nothing of ours is in them
UNLIMITED = 10**9


class Ask(Searcher):
    """The next trial of the ledger."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self.ledger = ledger

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        config = self.ledger.ask()
        if config is None:
            return None if self.ledger.waits else Searcher.FINISHED
        folder = self.ledger.store.trial_folder(config.fingerprint)
        resources = self.ledger.spec.resources
        return {
            "fingerprint": config.fingerprint,
            "folder": str(folder),
            "cpus": resources.cpus,
            "gpus": resources.gpus,
            "memory_bytes": resources.memory_gb * GIGABYTE if resources.memory_gb else None,
            "timeout_minutes": resources.trial_timeout_minutes,
        }

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        """Ends are told by `End`, which knows the reason."""

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        raise AssertionError("a sweep is continued by reconciling, not by restoring Tune")

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Decide(FIFOScheduler):
    """Writes each row, then lets the ledger judge it; the last word of a trial is kept for `End`."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self.ledger = ledger
        self.endings: dict[str, dict[str, Any]] = {}

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        fingerprint = trial.config["fingerprint"]
        if ENDING in result:
            self.endings[fingerprint] = json.loads(result[ENDING])
        elif ROW in result and self.ledger.row(fingerprint, json.loads(result[ROW])):
            return TrialScheduler.STOP
        return TrialScheduler.CONTINUE

    def __getstate__(self) -> dict[str, Any]:
        return {}


class End(Callback):
    """Tells the ledger that a trial is over."""

    def __init__(self, ledger: Ledger, decide: Decide) -> None:
        self.ledger, self.decide = ledger, decide

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        fingerprint = trial.config["fingerprint"]
        self.ledger.end(fingerprint, self.decide.endings.pop(fingerprint, None))

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.ledger.lose(trial.config["fingerprint"], _last_error(trial))

    def __getstate__(self) -> dict[str, Any]:
        return {}


def build_tuner(ledger: Ledger) -> tune.Tuner:
    """A Tuner that runs what the ledger asks for, on warm actors."""
    resources = ledger.spec.resources
    decide = Decide(ledger)
    limit = None if resources.max_concurrent == "auto" else resources.max_concurrent
    return tune.Tuner(
        tune.with_resources(run_trial, _asked(resources)),
        tune_config=tune.TuneConfig(
            search_alg=Ask(ledger),
            scheduler=decide,
            num_samples=UNLIMITED,
            max_concurrent_trials=limit or _fitting(_asked(resources)),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=SCRATCH,
            storage_path=str(ledger.store.path),
            callbacks=[End(ledger, decide)],
            failure_config=tune.FailureConfig(max_failures=resources.max_retries),
            verbose=0,
        ),
    )


def _asked(resources: Resources) -> dict[str, float]:
    """What Ray sets aside for a trial."""
    asked = {"cpu": resources.cpus, "gpu": resources.gpus}
    return asked | ({"memory": resources.memory_gb * GIGABYTE} if resources.memory_gb else {})


def _fitting(asked: dict[str, float]) -> int:
    """How many trials the cluster's resources hold at once."""
    import ray

    total = ray.cluster_resources()
    names = {"cpu": "CPU", "gpu": "GPU", "memory": "memory"}
    return max(1, min(int(total.get(names[name], 0) / amount) for name, amount in asked.items() if amount))


def _last_error(trial: Trial) -> str:
    """Why a trial's actor died, from the file that Tune wrote (`trial.get_error()` is None at this time)."""
    name = trial.run_metadata.error_filename
    path = Path(trial.local_path or "") / name if name else None
    if path is None or not path.exists():
        return "its process was lost"
    lines = [line for line in path.read_text().splitlines() if line.strip()]
    return f"its process was lost: {lines[-1].strip()}"
