"""One trial on a worker, from its job to its ending. A worker holds no credentials and has no connection to MLflow or the study.

A trial works in a scratch folder of its node. A file is in the store before the row or the ending that rests on it is reported.
"""

import errno
import json
import os
import tempfile
import time
import traceback
from functools import partial
from pathlib import Path
from typing import Any

import torch
from ray import tune

from lightning_modules.atomic_write import write_atomically
from lightning_modules.config import TrialConfig
from lightning_modules.fit import fit, score_again
from lightning_modules.module import CHECKPOINT_FORMAT
from lightning_modules.outcome import Outcome
from lightning_modules.record import FitResult, Row, describe
from lightning_modules.trial_folder import BEST, CHECKPOINT, ERROR, ITEMS, RESULT, THINKING, WEIGHTS
from rrm.errors import UserError
from rrm.format_version import check_format
from rrm.weights import read_weights
from sweeps.store.attempts import Attempt, begin_attempt, count_losses
from sweeps.store.store import Store
from sweeps.store.stored_trials import read_config
from sweeps.worker.messages import ENDING, PROCESS_LOST, ROW, Ending, Failed, Job, Lost, NodeRefused, ending_of, write_ending
from sweeps.worker.node_check import describe_node, find_misfit
from sweeps.worker.system_metrics import SystemMetrics
from sweeps.worker.this_node import describe_worker, has_died
from sweeps.worker.watchdog import Watchdog

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # errors of a full disk
SUPERSEDED_EXIT_CODE = 71  # exit code of a process whose trial was begun elsewhere


def run_trial(config: dict[str, Any]) -> None:
    """Tune's trainable. Its last report is the trial's ending, so that the actor stays warm for the next trial."""
    job = Job.from_config(config)
    with tempfile.TemporaryDirectory(prefix="rrm-trial-") as scratch:
        ending = _try_trial(job, Path(scratch))
    tune.report({ENDING: write_ending(ending)})


def _try_trial(job: Job, folder: Path) -> Ending:
    """Run a trial in a scratch folder."""
    losses, trained = 0, None
    try:
        if job.driver is not None and (misfit := find_misfit(describe_node(job.store), job.driver, job.store)):
            worker = describe_worker()
            return NodeRefused(worker["node"], worker["address"], misfit)
        store = Store(job.store)
        losses = count_losses(store, job.fingerprint)
        config = fetch_trial(store, job.fingerprint, folder)
        step = saved_step(folder, store.where(job.fingerprint))
        attempt = begin_attempt(store, job.fingerprint, job.session, step, describe_worker(), has_died)
        if job.donor is not None:
            trained = fetch_donor(store, job.donor, folder)
    except UserError as error:  # the trial cannot begin here, which costs no retry
        return Lost(str(error), losses)
    except Exception as error:  # an exception that reaches Tune would begin the trial again without end
        return Lost(f"{type(error).__name__}: {error}", losses + 1)
    killed = store.why_killed(job.fingerprint)
    if killed is not None:  # another attempt would hang, or exhaust the memory, once more
        return Failed(describe(config) | {"outcome": Outcome.FAILED, "reason": killed}, [])
    if attempt.losses > job.max_retries:
        return Lost(PROCESS_LOST, attempt.losses)
    return _train(job, config, Workplace(store, job.fingerprint, folder, attempt), trained)


def fetch_trial(store: Store, fingerprint: str, folder: Path) -> TrialConfig:
    """Copy the config and the checkpoints of earlier attempts into a folder.

    Raises:
        UserError: this node does not see the store.
    """
    if store.trial(fingerprint) is None:
        where = store.where(fingerprint)
        raise UserError(where, f"cannot be seen from {os.uname().nodename}: every node must see the storage")
    for name in (CHECKPOINT, BEST):
        store.fetch(fingerprint, name, folder)
    return read_config(store, fingerprint).located(folder)


def fetch_donor(store: Store, fingerprint: str, folder: Path) -> FitResult | None:
    """Copy the weights of a completed trial into a folder; its result, or None where its files were removed or are damaged."""
    text = store.file(fingerprint, RESULT)
    if text is None or not store.fetch(fingerprint, WEIGHTS, folder):
        return None
    try:
        read_weights(folder / WEIGHTS)
    except UserError:
        (folder / WEIGHTS).unlink()
        return None
    store.fetch(fingerprint, BEST, folder)
    return FitResult.from_fields(json.loads(text), f"{store.where(fingerprint)}/{RESULT}")


def saved_step(folder: Path, where: str) -> int:
    """Optimizer steps in the checkpoint from which an attempt continues; 0 without one.

    Args:
        where: the trial in the store, for the error.

    Raises:
        UserError: a later version wrote the checkpoint.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return 0
    saved = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    check_format(saved["trial"].get("format"), CHECKPOINT_FORMAT, f"{where}/{CHECKPOINT}")
    return int(saved["global_step"])


class Workplace:
    """The scratch folder of an attempt that has fetched its trial, and the way of its files into the store."""

    def __init__(self, store: Store, fingerprint: str, folder: Path, attempt: Attempt) -> None:
        self.store, self.fingerprint, self.folder, self.attempt = store, fingerprint, folder, attempt
        fetched = [folder / name for name in (CHECKPOINT, BEST) if (folder / name).exists()]
        self._kept = {file.name: file.stat().st_mtime_ns for file in fetched}  # time of writing of each file that the store has

    def exit_if_superseded(self) -> None:
        """End this process if the trial was begun elsewhere: the driver has lost sight of this node."""
        if len(self.store.attempts(self.fingerprint)) > self.attempt.number:
            os._exit(SUPERSEDED_EXIT_CODE)

    def keep(self) -> None:
        """Copy the files that changed since the last call into the store, the checkpoint last."""
        for name in (WEIGHTS, ITEMS, THINKING, ERROR, BEST, CHECKPOINT):
            file = self.folder / name
            if file.exists() and file.stat().st_mtime_ns != self._kept.get(name):
                self.store.keep(self.fingerprint, file)
                self._kept[name] = file.stat().st_mtime_ns


class Reporter:
    """Reports the rows of one attempt, and holds why the trial stops early."""

    def __init__(self, place: Workplace, timeout_minutes: float | None, system_metrics: bool) -> None:
        self.place, self.timeout_minutes = place, timeout_minutes
        self.stop: SystemExit | None = None  # Tune raised it: the scheduler stops the trial
        self.has_timed_out = False
        self._machine = SystemMetrics() if system_metrics else None
        self._started = time.monotonic()

    def report(self, row: Row) -> bool:
        """Report a row; False stops the trial."""
        self.place.exit_if_superseded()
        self.place.keep()
        if self._machine is not None:
            row = Row(step=row["step"], time=row["time"], metrics=row["metrics"] | self._machine.read(), used=row["used"])
        try:
            tune.report({ROW: json.dumps(row)})
        except SystemExit as stop:  # inside `Trainer.fit` it would skip the hooks that end a fit
            self.stop = stop
        minutes = (time.monotonic() - self._started) / 60
        self.has_timed_out = self.timeout_minutes is not None and minutes > self.timeout_minutes
        return self.stop is None and not self.has_timed_out


def _train(job: Job, config: TrialConfig, place: Workplace, trained: FitResult | None) -> Ending:
    """Fit and report rows, or score the weights of a completed trial, which lie in the folder then.

    Raises:
        SystemExit: the scheduler stopped the trial; Tune expects the exception that it raised.
    """
    _share_machine(job)
    reporter = Reporter(place, job.timeout_minutes, job.system_metrics)
    try:
        with Watchdog(partial(place.store.write_killed, job.fingerprint), job.timeout_minutes, job.asked.get("memory")):
            result = score_again(config, place.folder, trained) if trained else fit(config, place.folder, reporter.report)
            place.exit_if_superseded()
            place.keep()
        ending = _ending_in_time(result, job, reporter)
    except Exception as error:  # an exception that reaches Tune would cost the warm actor
        ending = _failure(error, config, place)
    if reporter.stop is not None:
        raise reporter.stop
    return ending


def _ending_in_time(result: FitResult, job: Job, reporter: Reporter) -> Ending:
    """The ending of a fit; one that was stopped by its time limit has failed."""
    if reporter.has_timed_out and result.record["outcome"] == Outcome.PRUNED:
        reason = f"took longer than resources.trial_timeout_minutes = {job.timeout_minutes:g}"
        return Failed(result.record | {"outcome": Outcome.FAILED, "reason": reason}, result.curves)
    return ending_of(result)


def _share_machine(job: Job) -> None:
    """Limit this process to its share of CPU cores and GPU memory."""
    torch.set_num_threads(max(1, int(job.asked["CPU"])))
    gpus = job.asked.get("GPU", 0)
    if 0 < gpus < 1 and torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(gpus)


def _failure(error: Exception, config: TrialConfig, place: Workplace) -> Ending:
    """The ending of a trial that raised an exception; a full disk is not the trial's fault."""
    reason = f"{type(error).__name__}: {error}"
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return Lost(reason, place.attempt.losses + 1)
    write_atomically(place.folder / ERROR, traceback.format_exc())
    place.exit_if_superseded()
    place.keep()
    return Failed(describe(config) | {"outcome": Outcome.FAILED, "reason": f"{reason} (see error.txt)"}, [])
