"""Three adapters between Ray Tune and the ledger: Tune asks it for trials, and gives it rows and ends. None of them is pickled."""

import functools
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from sweeps.driver.capacity import Capacity, place_trial
from sweeps.driver.ledger import Ledger
from sweeps.worker.run_trial import ENDING, LOST, MISFIT, ROW, run_trial

SCRATCH = "ray"  # Tune's own files, beside the trials; nothing of ours is in them
UNLIMITED = 10**9
MOST_FAILURES = 100  # of one trial as Tune counts them; the trial itself counts those that are its own


def remembered(method: Callable) -> Callable:
    """A method of an adapter; what it raises is the driver's problem, not that of the trials which run."""

    @functools.wraps(method)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except Exception as error:
            self.ledger.problem = error
            raise

    return wrapper


class Ask(Searcher):
    """The next trial of the ledger, when there is room for it."""

    def __init__(self, ledger: Ledger, capacity: Capacity, driver: dict[str, str] | None = None) -> None:
        super().__init__()
        self.ledger, self.capacity, self.driver = ledger, capacity, driver
        self.session = uuid.uuid4().hex

    @remembered
    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self.ledger.running >= self.capacity.trials():
            return None
        config = self.ledger.ask()
        if config is None:
            # What runs may be given back, and when it has ended the last stage begins; after FINISHED Tune asks no more.
            return None if self.ledger.live else Searcher.FINISHED
        resources = self.ledger.spec.resources
        return {
            "fingerprint": config.fingerprint,
            "store": self.ledger.store.location,
            "session": self.session,
            "driver": self.driver,
            "asked": resources.asked,
            "refused": list(self.capacity.refused),
            "max_retries": resources.max_retries,
            "timeout_minutes": resources.trial_timeout_minutes,
            "system_metrics": self.ledger.spec.tracking.system_metrics,
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

    @remembered
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
    """Tells the ledger that a trial is over, and the reader that one was lost and goes on, or that a node is no good."""

    def __init__(self, ledger: Ledger, capacity: Capacity, decide: Decide, say: Callable[[str], None]) -> None:
        self.ledger, self.capacity, self.decide, self.say = ledger, capacity, decide, say

    @remembered
    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        fingerprint = trial.config["fingerprint"]
        ending = self.decide.endings.pop(fingerprint, None)
        if ending is not None and MISFIT in ending:
            self.ledger.give_back(fingerprint)
            if self.capacity.refuse(ending["node"]):
                self.say(f"node {ending['address']} gets no trials: it {ending[MISFIT]}")
        elif ending is not None and ending.get("retryable"):
            reason = _last_error(trial) if ending["reason"] == LOST else ending["reason"]
            self.ledger.lose(fingerprint, reason, ending["losses"])
        else:
            self.ledger.end(fingerprint, ending)

    @remembered
    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.ledger.lose(trial.config["fingerprint"], _last_error(trial))

    @remembered
    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        config = self.ledger.live[trial.config["fingerprint"]].config
        self.say(f"{self.ledger.tracker.name(config)} goes on from its checkpoint: {_last_error(trial)}")

    def __getstate__(self) -> dict[str, Any]:
        return {}


def build_tuner(ledger: Ledger, capacity: Capacity, driver: dict[str, str] | None, say: Callable[[str], None]) -> tune.Tuner:
    """A Tuner that runs what the ledger asks for, on warm actors, and says what a reader should know at once.

    Args:
        driver: what every node must agree with (`sweeps.worker.node_check.describe_driver`), or None on this machine alone.
    """
    decide = Decide(ledger)
    return tune.Tuner(
        tune.with_resources(run_trial, place_trial),
        tune_config=tune.TuneConfig(
            search_alg=Ask(ledger, capacity, driver),
            scheduler=decide,
            num_samples=UNLIMITED,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=SCRATCH,
            storage_path=str(ledger.store.driver_folder),
            callbacks=[End(ledger, capacity, decide, say)],
            failure_config=tune.FailureConfig(max_failures=MOST_FAILURES),
            verbose=0,
        ),
    )


def _last_error(trial: Trial) -> str:
    """Why a trial's actor died, from the file that Tune wrote (`trial.get_error()` is None at this time)."""
    name = trial.run_metadata.error_filename
    path = Path(trial.local_path or "") / name if name else None
    if path is None or not path.exists():
        return LOST
    lines = [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return f"{LOST}: {lines[-1].strip()}"
