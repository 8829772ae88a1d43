"""`reconcile`: builds the ledger (what is done, running and to do) of a driver that starts, from the files of earlier drivers."""

from functools import partial

from lightning_modules.config import TrialConfig
from lightning_modules.record import Record
from lightning_modules.yaml_file import write_yaml
from rrm.errors import UserError
from sweeps.driver.ledger import Ledger, stored_sections
from sweeps.driver.queues import MeasureQueue, Queue, ReadTrial, SearchQueue
from sweeps.driver.study import Study
from sweeps.driver.take_over import take_over
from sweeps.planning.donors import Donors
from sweeps.planning.imported import refuse_missing_parts
from sweeps.planning.same_meaning import refuse_changed_meaning
from sweeps.planning.warm_start import warm_results
from sweeps.spec.sweep import SweepSpec
from sweeps.store.attempts import may_be_retried, note_losses
from sweeps.store.store import STUDY, Store
from sweeps.store.stored_trials import read_intact_config, store_plugins
from sweeps.tracking.recorder import EventRecorder


def reconcile(spec: SweepSpec, store: Store, tracker: EventRecorder) -> Ledger:
    """Make study and tracking agree with the store, and find what is left to do. Needs the lock of the store.

    The tracker is told every finished trial again, and leaves out what it has.

    Raises:
        UserError: the spec gives another meaning to a sweep that has finished trials, the store is a copy of another one, the
            file of a trial was edited, or an import has left out what new trials need.
    """
    results = store.results()
    refuse_changed_meaning(spec, store, results)
    taken = take_over(spec, store, results)
    if taken:
        results = store.results()
    refuse_missing_parts(spec, store, results)
    begun, read_trial = store.begun(), partial(read_stored_trial, store, spec.files_by_digest)
    queue = _open_queue(spec, store, begun, read_trial)
    queue.notes = [*taken, *queue.notes] if taken else queue.notes
    text = write_yaml(stored_sections(spec))
    store_plugins(store, spec.every_plugin)
    store.write_spec(text)
    _reopen_lost(queue, store, results, spec.resources.max_retries)
    # A trial of a search reports rows, by which early stopping and the study judge others: it is always trained.
    donors = Donors(store, results if spec.measure else {})
    ledger = Ledger(spec, store, tracker, queue, queue.reconcile(results, begun), donors)
    finished = list(ledger.results)  # a trial that `replay` ends, as one to be stopped, is reported there
    for line in store.rows():  # validations of trials, in the order in which they arrived
        ledger.replay(line["fingerprint"], line["row"])
    tracker.sweep(spec, text)
    for fingerprint in finished:
        record = ledger.results[fingerprint]
        columns = {name: value for name, value in record.items() if name != "curves"}
        tracker.end(read_trial(fingerprint), columns, record["curves"])
    return ledger


def read_stored_trial(store: Store, files: dict[str, str], fingerprint: str) -> TrialConfig:
    """The trial in a folder of the store. Its file is rewritten where its data has moved.

    Args:
        files: path of every data file of the sweep by digest.

    Raises:
        UserError: the file is absent, or was edited, so that its trial has another fingerprint.
    """
    config = read_intact_config(store, fingerprint)
    moved = config.relocated(files)
    if moved.resolved() != config.resolved():
        store.write_trial(fingerprint, write_yaml(moved.resolved()))
    return moved


def _open_queue(spec: SweepSpec, store: Store, begun: set[str], read_trial: ReadTrial) -> Queue:
    """The queue of trials of the spec's kind; the queue of a search opens its Optuna study.

    Raises:
        UserError: the store is a copy of another one, to which the study belongs.
    """
    if spec.search is None:
        return MeasureQueue(spec, store)
    warm = warm_results(spec)
    study = Study(spec, store.driver_folder / STUDY, store.identify(), begun)
    if study.location and store.is_copy_of(study.location):
        raise UserError(store.location, f"is a copy of {study.location}: give one of them another name: name=NEW")
    study.location = store.location
    return SearchQueue(spec, spec.search, study, warm, read_trial)


def _reopen_lost(queue: Queue, store: Store, results: dict[str, Record], max_retries: int) -> None:
    """Remove the results of lost trials, whose process died, that the spec requests and that may be retried, in `results` too."""
    for fingerprint, record in list(results.items()):
        if may_be_retried(record, max_retries) and queue.requests(fingerprint, record):
            note_losses(store, fingerprint, record["losses"])
            store.remove_result(fingerprint)
            del results[fingerprint]
