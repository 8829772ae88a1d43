"""`run_sweep`: make the store equal to the spec, whatever an earlier run left behind."""

import functools
import logging
import os
import signal
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from rich.console import Console

from rrm.errors import UserError, first_line
from sweeps.driver.driver_log import DRIVER_LOG, driver_log
from sweeps.driver.ledger import Ledger
from sweeps.driver.live_table import LiveTable, best_record, failures, starting
from sweeps.driver.reconcile import reconcile
from sweeps.planning.machine import check_resources
from sweeps.planning.reuse import find_reusable
from sweeps.planning.warm_start import warm_results
from sweeps.spec.best import describe_score
from sweeps.spec.sweep import SweepSpec
from sweeps.store.backend import driver_name
from sweeps.store.store import Store
from sweeps.tracking.recorder import EventRecorder
from sweeps.tracking.secrets import hidden_credentials
from sweeps.tracking.spool import SPOOL, Spool
from sweeps.tracking.trackers import find_tracker
from sweeps.worker.messages import Lost
from sweeps.worker.node_check import check_address, check_nodes, check_ray_folder, describe_driver

if TYPE_CHECKING:
    from sweeps.driver.capacity import Capacity

log = logging.getLogger("sweeps.driver")

DONE, SOME_FAILED, STOPPED = 0, 1, 130

# What Ray Tune would otherwise do beside our store; read when ray is imported, and by its workers.
TUNE_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "300",  # its default of 2 s stalls a sweep whose trials take longer to end
    "TUNE_MAX_PENDING_TRIALS_PG": "1000000",  # `Capacity` limits how many trials run at once
    "RAY_AIR_NEW_OUTPUT": "0",  # the old output is the one that verbose=0 silences
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a trial without GPUs sees none
    "RAY_USAGE_STATS_ENABLED": "0",
}


def run_sweep(spec: SweepSpec, console: Console, continue_command: str, address: str | None = None) -> int:
    """Run what is missing, and print how it ended.

    Args:
        address: of a running Ray cluster; None starts one on this machine.

    Returns:
        Exit code: 0 done, 1 some trials failed for good, 130 stopped by Ctrl-C (the printed command continues).

    Raises:
        UserError: another driver runs this sweep, the spec gives another meaning to finished trials, MLflow holds another sweep
            of this name, a node of the cluster cannot take part, or the storage cannot be written.
    """
    if address is None:
        check_resources(spec.resources)
        check_ray_folder()
    else:
        check_address(address)
    warm_results(spec)  # refuses a wrong `search.warm_start` before anything is written
    store = Store(spec.location)
    find_reusable(spec, store.finished())  # and a wrong `measure.reuse`
    with suppress(OSError):  # a storage that cannot be read has its own line
        find_tracker(spec).check(spec, store)
    store.create()
    try:
        with store.locked(), driver_log(store.driver_folder):
            log.info("driver started: %s, %s", driver_name(), continue_command)
            try:
                code = _run(spec, store, console, continue_command, address)
            except BaseException as error:
                log.error("driver ended: %s: %s", type(error).__name__, error)
                raise
            log.info("driver ended: exit code %d", code)
            return code
    except OSError as error:
        raise UserError(
            store.location,
            f"cannot be written: {first_line(error)}; free space or fix permissions, then run the same command again",
        ) from None


def _run(spec: SweepSpec, store: Store, console: Console, continue_command: str, address: str | None) -> int:
    """`run_sweep` on a store that can be written and is locked."""
    ledger = reconcile(spec, store, EventRecorder(spec, Spool(store.driver_folder / SPOOL), store))
    for note in ledger.queue.notes:
        _print(console, note)
    if ledger.finished:
        console.print(f"{spec.name} is finished: {len(ledger.results)} trials, nothing to run")
    else:
        if ledger.results:
            console.print(f"{spec.name} goes on: {len(ledger.results)} of {spec.total} trials are finished")
        ledger.tracker.run()
        with suppress(KeyboardInterrupt):  # before Tune handles the signal; a later one ends `fit` without an exception
            _run_missing(ledger, console, address)
    ledger.close()
    undelivered = _deliver(ledger.tracker)
    if ledger.finished:
        _print_results(ledger, console)
    else:
        log.warning("stopped by Ctrl-C or SIGTERM with %d of %d trials", len(ledger.results), spec.total)
        _print(console, f"stopped with {len(ledger.results)} of {spec.total} trials; continue with: {continue_command}")
    for line in undelivered:
        log.warning("%s", line)
        _print(console, line)
    failed = len(failures(ledger))
    if failed:
        _print(console, f"{failed} failed {'trial' if failed == 1 else 'trials'}: see {store.driver_folder / DRIVER_LOG}")
    if not ledger.finished:
        return STOPPED
    return SOME_FAILED if failed else DONE


def _print(console: Console, text: str) -> None:
    """Print a line without wrapping it, so that commands and paths can be copied."""
    print(text, file=console.file, flush=True)


def _run_missing(ledger: Ledger, console: Console, address: str | None) -> None:
    """Run on Ray what is missing.

    Raises:
        UserError: Ray does not start, or a node of the cluster cannot take part.
    """
    os.environ.update(TUNE_ENVIRONMENT)
    import ray

    from sweeps.driver.capacity import Capacity
    from sweeps.driver.tune import build_tuner

    _start_ray(ledger, console, address)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))  # Tune saves on SIGINT only
    try:
        capacity = Capacity(ledger.spec.resources)
        driver = _check_cluster(ledger, capacity, console) if address is not None else None
        show = functools.partial(_print, console)
        with LiveTable(ledger, console).shown():
            fit_until_done(
                ledger,
                lambda: build_tuner(ledger, capacity, driver, show).fit(),
                (RuntimeError, ray.exceptions.RayError, ray.tune.TuneError),
            )
    finally:
        ray.shutdown()


def _start_ray(ledger: Ledger, console: Console, address: str | None) -> None:
    """Start Ray on this machine or join a cluster, and start delivery to MLflow.

    Raises:
        UserError: Ray does not start, or the cluster cannot be joined.
    """
    import ray

    _silence_ray()
    console.print("starting Ray ..." if address is None else f"joining Ray at {address} ...")
    if ledger.tracker.delivery.tracker.is_local:
        ledger.tracker.delivery.start()  # makes its database while Ray starts
    try:
        with hidden_credentials(), starting(console):
            ray.init(
                address=address or "local",  # None would join any cluster that this machine was last part of
                include_dashboard=False if address is None else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"env_vars": TUNE_ENVIRONMENT},
            )
    except Exception as error:  # Ray raises a bare Exception where a busy machine is too slow
        problem = "is not a cluster that can be joined" if address else "does not start on this machine"
        raise UserError(address or "Ray", f"{problem}: {first_line(error)}") from None
    ledger.tracker.delivery.start()  # not earlier for a server: its client reads the hidden credentials with every request


def _silence_ray() -> None:
    """Keep Ray's warnings out of the output: a lost process has one line of ours."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.tune.execution.tune_controller").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="ray.*")


def _check_cluster(ledger: Ledger, capacity: "Capacity", console: Console) -> dict[str, str]:
    """Check the nodes of the cluster; the facts that every node must share with this driver.

    Raises:
        UserError: a node cannot take part.
    """
    driver = describe_driver(ledger.store)
    console.print(f"nodes that see the storage and run the same code: {check_nodes(ledger.store, driver)}")
    if not capacity.fitting():
        console.print("no node has what one trial asks for (resources): waiting for one that joins")
    return driver


def fit_until_done(ledger: Ledger, fit: Callable[[], object], aborts: tuple[type[Exception], ...]) -> None:
    """Call `fit` until it returns. After an abort of Ray as a whole, as by its memory monitor, live trials go on.

    A trial that was live at more aborts in a row than it may be retried, without a new row in between, fails.

    Raises:
        Exception: `fit` aborts though no trial runs.
    """
    strikes: dict[str, tuple[int, int]] = {}  # by trial: number of aborts in a row, and number of rows at the last one
    while True:
        try:
            fit()
            return
        except aborts as abort:
            if ledger.problem is not None:  # the driver's own fault
                raise ledger.problem from None
            if not ledger.live:
                raise
            for fingerprint, trial in list(ledger.live.items()):
                count, rows = strikes.get(fingerprint, (0, len(trial.rows)))
                count = count + 1 if rows == len(trial.rows) else 1
                strikes[fingerprint] = (count, len(trial.rows))
                if count > max(1, ledger.spec.resources.max_retries):  # one abort does not show which trial caused it
                    ledger.end(fingerprint, Lost(f"Ray gave up {count} times in a row while it ran: {first_line(abort)}"))
            ledger.requeue()


def _deliver(tracker: EventRecorder) -> list[str]:
    """Wait until the tracker has all events; returns lines about those that did not arrive."""
    tracker.delivery.start()
    lines = []
    if not tracker.delivery.close():
        why = tracker.delivery.problem or "still sending"
        lines.append(f"tracking is behind ({why}): the rest lies in the spool and goes out with the next run")
    progress = tracker.spool.progress
    for transient, verb in ((True, "has not received"), (False, "refused")):
        parts = progress.describe_aside(transient)
        if parts:
            lines.append(f"{tracker.delivery.tracker.title} {verb} {'; '.join(parts)}; the next run tries again")
    return lines


def _print_results(ledger: Ledger, console: Console) -> None:
    """Print why trials are missing, the best trial, the failures, and how to open MLflow."""
    if ledger.queue.shortfall is not None:
        _print(console, ledger.queue.shortfall)
    best = best_record(ledger)
    if best is not None:
        score = f"{describe_score(ledger.spec, best)}, params {best['params']:,}"
        name = ledger.tracker.name_of_record(best)
        _print(console, f"best trial: {name}, {score} ({ledger.store.where(best['fingerprint'])})")
    for line in failures(ledger):
        _print(console, line)
    result_line = ledger.tracker.delivery.tracker.result_line()
    if result_line:
        _print(console, result_line)
