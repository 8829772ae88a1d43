"""`run_sweep`: make the store equal to the spec, whatever an earlier run left behind."""

import functools
import logging
import os
import signal
import warnings
from collections.abc import Callable
from contextlib import suppress

from rich.console import Console

from rrm.errors import UserError, first_line
from sweeps.driver.ledger import Ledger
from sweeps.driver.live_table import LiveTable, best_record, failures, starting
from sweeps.planning.machine import check_resources
from sweeps.planning.warm_start import warm_results
from sweeps.spec.sweep import SweepSpec
from sweeps.store.store import Store
from sweeps.tracking.recorder import EventRecorder
from sweeps.tracking.secrets import hidden_credentials
from sweeps.tracking.spool import SPOOL, Spool
from sweeps.tracking.trackers import find_tracker
from sweeps.worker.node_check import check_address, check_nodes, check_ray_folder, describe_driver

DONE, SOME_FAILED, STOPPED = 0, 1, 130

# What Ray Tune would otherwise do beside our store; read when ray is imported, and by its workers.
TUNE_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "300",  # its default of 2 s stalls a sweep whose trials take longer to end
    "TUNE_MAX_PENDING_TRIALS_PG": "1000000",  # how many run at once is for us to say
    "RAY_AIR_NEW_OUTPUT": "0",  # the old output is the one that verbose=0 silences
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a trial without GPUs sees none
    "RAY_USAGE_STATS_ENABLED": "0",
}


def run_sweep(spec: SweepSpec, console: Console, continue_command: str, address: str | None = None) -> int:
    """Run what is missing, and say how it ended.

    Args:
        address: of a running Ray cluster; None starts one on this machine.

    Returns:
        Exit code: 0 done, 1 some trials failed for good, 130 stopped by Ctrl-C (the printed command continues).

    Raises:
        UserError: another driver runs this sweep, the spec gives another meaning to finished trials, MLflow holds another sweep
            of this name, a node of the cluster cannot take part, or the storage takes no more.
    """
    if address is None:
        check_resources(spec.resources)
        check_ray_folder()
    else:
        check_address(address)
    warm_results(spec)  # refuses what a search cannot start from before anything is written
    store = Store(spec.location)
    with suppress(OSError):  # a storage that cannot be read has its own line
        find_tracker(spec.tracking.kind).check(spec, store)
    store.create()
    try:
        return _run(spec, store, console, continue_command, address)
    except OSError as error:
        raise UserError(store.location, f"takes no more: {first_line(error)}; mend it and run the same command again") from None


def _run(spec: SweepSpec, store: Store, console: Console, continue_command: str, address: str | None) -> int:
    """`run_sweep` on a store that can be written."""
    with store.locked():
        tracker = EventRecorder(spec, Spool(store.driver_folder / SPOOL), store)
        ledger = Ledger(spec, store, tracker)
        ledger.reconcile()
        finished_before = len(ledger.results)
        for note in ledger.notes:
            _say(console, note)
        if ledger.finished:
            console.print(f"{spec.name} is finished: {finished_before} trials, nothing to run")
        else:
            if finished_before:
                console.print(f"{spec.name} goes on: {finished_before} of {ledger.total} trials are finished")
            tracker.run()
            with suppress(KeyboardInterrupt):  # before Tune takes over the signal; a later one ends `fit` without an exception
                _run_missing(ledger, console, address)
        ledger.close()
        behind = _deliver(tracker)
        if ledger.finished:
            code = _conclude(ledger, console)
        else:
            _say(console, f"stopped with {len(ledger.results)} of {ledger.total} trials; continue with: {continue_command}")
            code = STOPPED
        for line in behind:
            _say(console, line)
        return code


def _say(console: Console, text: str) -> None:
    """A line as it is: not wrapped, so that commands and paths can be copied."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _run_missing(ledger: Ledger, console: Console, address: str | None) -> None:
    """`Tuner.fit` in a loop: when Ray aborts as a whole (its memory monitor makes it), go on."""
    os.environ.update(TUNE_ENVIRONMENT)
    import ray

    from sweeps.driver.capacity import Capacity
    from sweeps.driver.tune import build_tuner

    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.tune.execution.tune_controller").setLevel(logging.CRITICAL)  # a lost process is one line of ours
    warnings.filterwarnings("ignore", module="ray.*")
    console.print("starting Ray ..." if address is None else f"joining Ray at {address} ...")
    if ledger.tracker.delivery.is_local:
        ledger.tracker.delivery.start()  # makes its database while Ray starts
    try:
        with hidden_credentials(), starting(console):
            ray.init(
                address=address or "local",  # None would join whatever cluster this machine last heard of
                include_dashboard=False if address is None else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"env_vars": TUNE_ENVIRONMENT},
            )
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        problem = "is not a cluster that can be joined" if address else "does not start on this machine"
        raise UserError(address or "Ray", f"{problem}: {first_line(error)}") from None
    ledger.tracker.delivery.start()  # with a server not before: its client reads the credentials with every request
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))  # Tune saves on SIGINT only
    try:
        capacity, driver = Capacity(ledger.spec.resources), None
        if address is not None:
            driver = describe_driver(ledger.store)
            console.print(f"nodes that see the storage and run the same code: {check_nodes(ledger.store, driver)}")
            if not capacity.fitting():
                console.print("no node has what one trial asks for (resources): waiting for one that joins")
        say = functools.partial(_say, console)
        with LiveTable(ledger, console).shown():
            fit_until_done(
                ledger,
                lambda: build_tuner(ledger, capacity, driver, say).fit(),
                (RuntimeError, ray.exceptions.RayError, ray.tune.TuneError),
            )
    finally:
        ray.shutdown()


def fit_until_done(ledger: Ledger, fit: Callable[[], object], aborts: tuple[type[Exception], ...]) -> None:
    """Call `fit` until it returns; after an abort what was live goes on from its checkpoints.

    A trial that is there at more aborts in a row than it may be retried, without a new row in between, is blamed for them.

    Raises:
        Exception: `fit` aborts though no trial runs.
    """
    strikes: dict[str, tuple[int, int]] = {}  # of each trial: aborts in a row, and the rows that it had at the last one
    while True:
        try:
            fit()
            return
        except aborts as abort:
            if ledger.problem is not None:  # not Ray's, and no trial's
                raise ledger.problem from None
            if not ledger.live:
                raise
            for fingerprint, trial in list(ledger.live.items()):
                count, rows = strikes.get(fingerprint, (0, len(trial.rows)))
                count = count + 1 if rows == len(trial.rows) else 1
                strikes[fingerprint] = (count, len(trial.rows))
                if count > max(1, ledger.spec.resources.max_retries):  # one abort tells nothing: which of them was it?
                    ledger.lose(fingerprint, f"Ray gave up {count} times in a row while it ran: {first_line(abort)}")
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


def _conclude(ledger: Ledger, console: Console) -> int:
    """What the search could not give, best trial, failures, and how to open MLflow."""
    if ledger.shortfall is not None:
        _say(console, ledger.shortfall)
    best = best_record(ledger)
    if best is not None:
        folder, name = ledger.store.where(best["fingerprint"]), ledger.tracker.name(ledger.stored_trial(best["fingerprint"]))
        _say(
            console,
            f"best trial: {name}, val exact accuracy {best['val/exact_accuracy']:.3f}, params {best['params']:,} ({folder})",
        )
    failed = failures(ledger)
    for line in failed:
        _say(console, line)
    result_line = ledger.tracker.delivery.tracker.result_line()
    if result_line:
        _say(console, result_line)
    return SOME_FAILED if failed else DONE
