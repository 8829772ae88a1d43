"""Three adapters between Ray Tune and the ledger: `Ask` for trials, `Decide` for rows, `End` for endings. None is pickled."""

import functools
import json
import logging
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ray import tune
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from sweeps.driver.capacity import Capacity, place_trial
from sweeps.driver.ledger import Ledger
from sweeps.worker.messages import ENDING, PROCESS_LOST, ROW, Ending, Job, Lost, NodeRefused, Pruned, read_ending
from sweeps.worker.run_trial import run_trial

SCRATCH = "ray"  # folder of Tune's files in the driver's folder; it holds nothing of ours
UNLIMITED = 10**9
MAX_FAILURES = 100  # failures of one trial that Tune allows; `resources.max_retries` limits them before
log = logging.getLogger("sweeps.driver")

Method = TypeVar("Method", bound=Callable[..., Any])


def remembered(method: Method) -> Method:
    """Keeps the first exception of an adapter's method as `ledger.problem`: the driver ends with it, and no trial is blamed."""

    @functools.wraps(method)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except Exception as error:
            self.ledger.problem = self.ledger.problem or error
            raise

    return wrapper  # type: ignore[return-value]


class Ask(Searcher):
    """Gives Tune the next trial of the ledger when a node has room for it."""

    def __init__(self, ledger: Ledger, capacity: Capacity, driver: dict[str, str] | None = None) -> None:
        super().__init__()
        self.ledger, self.capacity, self.driver = ledger, capacity, driver
        self.session = uuid.uuid4().hex

    @remembered
    def suggest(self, trial_id: str) -> Any:  # Tune declares a dict or None, and accepts FINISHED, a string, too
        if self.ledger.running >= self.capacity.trials():
            return None
        config = self.ledger.ask()
        if config is None:
            # A live trial may be handed out again, and the confirm stage begins after the last one; FINISHED is final for Tune.
            return None if self.ledger.live else Searcher.FINISHED
        return self._job(config.fingerprint).to_config()

    def _job(self, fingerprint: str) -> Job:
        spec = self.ledger.spec
        return Job(
            fingerprint=fingerprint,
            store=self.ledger.store.location,
            session=self.session,
            driver=self.driver,
            asked=spec.resources.asked,
            refused=list(self.capacity.refused),
            max_retries=spec.resources.max_retries,
            timeout_minutes=spec.resources.trial_timeout_minutes,
            donor=self.ledger.live[fingerprint].donor,
            system_metrics=spec.tracking.system_metrics,
        )

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """`End` takes the ending, which has the reason."""

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        raise AssertionError("a sweep is continued by `reconcile`, not by Tune")

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Decide(FIFOScheduler):
    """Passes each row to the ledger, which judges it; keeps the ending of a trial for `End`."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()  # type: ignore[no-untyped-call, unused-ignore]
        self.ledger = ledger
        self.endings: dict[str, Ending] = {}

    @remembered
    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        fingerprint = trial.config["fingerprint"]
        if fingerprint not in self.ledger.live:  # Tune runs a trial again that has ended (`End.on_trial_recover`)
            return TrialScheduler.STOP
        if ENDING in result:
            self.endings[fingerprint] = read_ending(result[ENDING])
        elif ROW in result and self.ledger.row(fingerprint, json.loads(result[ROW])):
            return TrialScheduler.STOP
        return TrialScheduler.CONTINUE

    def __getstate__(self) -> dict[str, Any]:
        return {}


class End(Callback):
    """Passes endings to the ledger, and prints a line when a lost trial continues or a node is refused."""

    def __init__(self, ledger: Ledger, capacity: Capacity, decide: Decide, show: Callable[[str], None]) -> None:
        self.ledger, self.capacity, self.decide, self.show = ledger, capacity, decide, show

    @remembered
    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        fingerprint = trial.config["fingerprint"]
        if fingerprint not in self.ledger.live:
            return
        match self.decide.endings.pop(fingerprint, Pruned()):
            case NodeRefused() as refusal:
                self._refuse_node(fingerprint, refusal)
            case Lost(reason, losses) if reason == PROCESS_LOST:
                self.ledger.end(fingerprint, Lost(_last_error(trial), losses))
            case ending:
                self.ledger.end(fingerprint, ending)

    def _refuse_node(self, fingerprint: str, refusal: NodeRefused) -> None:
        self.ledger.give_back(fingerprint)
        if self.capacity.refuse(refusal.node):
            line = f"node {refusal.address} gets no trials: it {refusal.reason}"
            log.warning("%s", line)
            self.show(line)

    @remembered
    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        if trial.config["fingerprint"] in self.ledger.live:
            self.ledger.end(trial.config["fingerprint"], Lost(_last_error(trial)))

    @remembered
    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Tune runs a trial again whose process was lost, and every trial at whose stop an exception was raised.

        `TuneController.stop_trial` treats any exception, ours in `on_trial_complete` or one of its later calls, as a failure of the
        trial that it stops. So the driver's problem is raised again, and a trial that has ended is stopped at its first row.
        """
        if self.ledger.problem is not None:
            raise self.ledger.problem
        fingerprint = trial.config["fingerprint"]
        if fingerprint not in self.ledger.live:
            return
        config, reason = self.ledger.live[fingerprint].config, _last_error(trial)
        log.warning("retry: trial %s goes on from its checkpoint: %s", fingerprint, reason)
        self.show(f"{self.ledger.tracker.name(config)} goes on from its checkpoint: {reason}")

    def __getstate__(self) -> dict[str, Any]:
        return {}


def build_tuner(ledger: Ledger, capacity: Capacity, driver: dict[str, str] | None, show: Callable[[str], None]) -> tune.Tuner:
    """A Tuner that runs the trials of the ledger on warm actors.

    Args:
        driver: facts that every node must share (`sweeps.worker.node_check.describe_driver`); None where all runs on this machine.
        show: prints a line while the sweep runs.
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
            callbacks=[End(ledger, capacity, decide, show)],
            failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
            verbose=0,
        ),
    )


def _last_error(trial: Trial) -> str:
    """Why a trial's actor died, from the file that Tune wrote (`trial.get_error()` is None at this time)."""
    name = trial.run_metadata.error_filename
    path = Path(trial.local_path or "") / name if name else None
    if path is None or not path.exists():
        return PROCESS_LOST
    lines = [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return f"{PROCESS_LOST}: {lines[-1].strip()}"
