"""What runs on a worker: one trial, from its folder to its last word. Workers hold no credentials and know no server.

A trial works in a scratch folder of its node. What must survive goes into the store before it is reported.
"""

import errno
import json
import os
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import torch
from ray import tune

from lightning_modules.atomic_write import write_atomically
from lightning_modules.config import TrialConfig, load_trial
from lightning_modules.fit import fit
from lightning_modules.outcome import Outcome
from lightning_modules.record import FitResult, Record, Row, describe
from lightning_modules.trial_folder import BEST, CHECKPOINT, ERROR, ITEMS, TRIAL, WEIGHTS
from rrm.errors import UserError
from sweeps.store.attempts import Attempt, begin_attempt
from sweeps.store.store import Store
from sweeps.worker.node_check import describe_node, find_misfit
from sweeps.worker.system_metrics import SystemMetrics
from sweeps.worker.this_node import describe_worker, has_died
from sweeps.worker.watchdog import Limits, Watchdog

ROW, ENDING = "row", "ending"  # keys of what is reported; as JSON text, since Tune flattens nested results
MISFIT = "misfit"  # in an ending: why this node may not run the trial, which has not begun
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
LOST = "its process was lost"
SUPERSEDED_EXIT_CODE = 71  # of a process whose trial goes on elsewhere


class Workplace:
    """The scratch folder of a trial, and the way of its files into the store and back."""

    def __init__(self, store: Store, fingerprint: str, folder: Path) -> None:
        self.store, self.fingerprint, self.folder = store, fingerprint, folder
        self.attempt = Attempt(1, 0)
        self._kept: dict[str, int] = {}  # when each file was written that the store has

    def fetch(self) -> TrialConfig:
        """Get the config and what earlier attempts saved.

        Raises:
            UserError: the store cannot be seen from here.
        """
        if not self.store.fetch(self.fingerprint, TRIAL, self.folder):
            where = self.store.where(self.fingerprint)
            raise UserError(where, f"cannot be seen from {os.uname().nodename}: every node must see the storage")
        for name in (CHECKPOINT, BEST):
            if self.store.fetch(self.fingerprint, name, self.folder):
                self._kept[name] = (self.folder / name).stat().st_mtime_ns
        return load_trial(self.folder / TRIAL)

    def saved_step(self) -> int:
        """Optimizer steps in the checkpoint that this attempt goes on from; 0 without one."""
        path = self.folder / CHECKPOINT
        if not path.exists():
            return 0
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)["global_step"]

    def keep(self) -> None:
        """Take what was written since the last time into the store, checkpoint last."""
        if len(self.store.attempts(self.fingerprint)) > self.attempt.number:
            os._exit(SUPERSEDED_EXIT_CODE)  # cut off from its driver, which has begun it elsewhere
        for name in (WEIGHTS, ITEMS, ERROR, BEST, CHECKPOINT):
            file = self.folder / name
            if file.exists() and file.stat().st_mtime_ns != self._kept.get(name):
                self.store.keep(self.fingerprint, file)
                self._kept[name] = file.stat().st_mtime_ns


def run_trial(job: dict[str, Any]) -> None:
    """Tune's trainable. The trial ends itself: its outcome is its last report, so that the actor stays warm.

    Args:
        job: `store` and `fingerprint`; `session` of the driver, and what this node must agree with it about (`driver`, or None);
            `max_retries`; `asked`, what it may use by Ray's names (`CPU`, `GPU`, `memory` in bytes); `timeout_minutes` of this
            attempt or None; `system_metrics`, whether the machine is watched.
    """
    with tempfile.TemporaryDirectory(prefix="rrm-trial-") as scratch:
        try:
            if job["driver"] and (misfit := find_misfit(describe_node(job["store"]), job["driver"], job["store"])):
                worker = describe_worker()
                where = {"node": worker["node"], "address": worker["address"]}
                tune.report({ENDING: json.dumps({MISFIT: misfit, **where})})
                return
            place = Workplace(Store(job["store"]), job["fingerprint"], Path(scratch))
            config = place.fetch()
            place.attempt = begin_attempt(
                place.store, job["fingerprint"], job["session"], place.saved_step(), describe_worker(), has_died
            )
        except Exception as error:  # a raise through Tune would begin it again without end
            tune.report({ENDING: FitResult(_lost(f"{type(error).__name__}: {error}", losses=1)).to_json()})
            return
        killed = place.store.why_killed(job["fingerprint"])
        if killed is not None:  # it would hang, or exhaust the memory, once more
            tune.report({ENDING: FitResult({**describe(config), "outcome": Outcome.FAILED, "reason": killed}).to_json()})
        elif place.attempt.losses > job["max_retries"]:
            ending = describe(config) | _lost(LOST, place.attempt.losses)
            tune.report({ENDING: FitResult(ending).to_json()})
        else:
            _train(job, config, place)


def _train(job: dict[str, Any], config: TrialConfig, place: Workplace) -> None:
    """Fit, reporting rows; report how it ended."""
    cpus, gpus, memory_bytes = (job["asked"].get(name) for name in ("CPU", "GPU", "memory"))
    torch.set_num_threads(max(1, int(cpus)))
    if gpus and gpus < 1 and torch.cuda.is_available():  # several trials share a GPU: none may take more than its part
        torch.cuda.set_per_process_memory_fraction(gpus)
    started, minutes = time.monotonic(), job["timeout_minutes"]
    machine = SystemMetrics() if job["system_metrics"] else None
    stop: SystemExit | None = None
    timed_out = False

    def report(row: Row) -> bool:
        nonlocal stop, timed_out
        place.keep()
        if machine is not None:
            row = Row(step=row["step"], time=row["time"], metrics=row["metrics"] | machine.read(), used=row["used"])
        try:
            tune.report({ROW: json.dumps(row)})
        except SystemExit as scheduler_stop:  # through `Trainer.fit` it would skip the hooks that end a fit
            stop = scheduler_stop
        timed_out = minutes is not None and time.monotonic() - started > 60 * minutes
        return stop is None and not timed_out

    try:
        with Watchdog(lambda reason: place.store.write_killed(job["fingerprint"], reason), Limits(minutes, memory_bytes)):
            result = fit(config, place.folder, report)
            place.keep()
    except Exception as error:  # a raise through Tune would cost the warm actor; the reason goes into the record
        result = FitResult(describe(config) | _failed(error, place))
    if stop is not None:
        raise stop
    if timed_out and result.record["outcome"] == Outcome.PRUNED:
        reason = f"took longer than resources.trial_timeout_minutes = {minutes:g}"
        result = FitResult(result.record | {"outcome": Outcome.FAILED, "reason": reason}, result.curves)
    tune.report({ENDING: result.to_json()})


def _failed(error: Exception, place: Workplace) -> Record:
    """How a trial ends that has raised; without room on the disk it may be tried again."""
    reason = f"{type(error).__name__}: {error}"
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return _lost(reason, place.attempt.losses + 1)
    write_atomically(place.folder / ERROR, traceback.format_exc())
    place.keep()
    return {"outcome": Outcome.FAILED, "reason": f"{reason} (see error.txt)"}


def _lost(reason: str, losses: int) -> Record:
    """A failure that is not the trial's fault: a later run may try again."""
    return {"outcome": Outcome.FAILED, "reason": reason, "retryable": True, "losses": losses}
