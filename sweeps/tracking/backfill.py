"""Sending MLflow what it lacks of a sweep, from the store alone, which is read and not written.

Needs neither a driver nor a data file, and trains nothing. Events come from a copy of the spool if there is one, and from the
records otherwise. Runs that a driver has sent stay as they are.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning_modules.config import dump_plugins
from lightning_modules.record import FitResult
from rrm.errors import UserError
from sweeps.spec.load_spec import parse_stored_spec
from sweeps.spec.sweep import SweepSpec
from sweeps.store.store import SPEC, SQLITE, Store
from sweeps.store.stored_trials import recall_plugins
from sweeps.tracking.delivery import Delivery
from sweeps.tracking.mlflow.address import ARTIFACTS, DATABASE, local_root
from sweeps.tracking.mlflow.destination import Destination, find_destination
from sweeps.tracking.mlflow.tracker import MlflowTracker
from sweeps.tracking.recorder import EventRecorder
from sweeps.tracking.secrets import blank_secrets
from sweeps.tracking.spool import SPOOL, Spool, is_spool_of
from sweeps.tracking.trial_facts import stored_facts

PrintLine = Callable[[str], None]


@contextmanager
def filled_destination(store: Store, print_line: PrintLine) -> Iterator[Destination]:
    """The experiment with all finished trials of a store, while the block runs.

    If the database beside the sweeps cannot be written, a temporary database replaces it.

    Raises:
        UserError: MLflow's experiment of that name is deleted, or holds another sweep; or MLflow does not answer.
    """
    from sweeps.tracking.mlflow.refusals import describe_error  # mlflow takes seconds to import

    spec = _stored_spec(store)
    with _writable(replace(find_destination(spec, store), renaming="rename its folder"), print_line) as destination:
        try:
            _fill(store, spec, destination, print_line)
        except UserError:
            raise
        except Exception as error:  # a server or a network can fail in any way
            problem = f"cannot receive the trials that it lacks: {describe_error(error)}"
            raise UserError(blank_secrets(destination.uri), problem) from None
        yield destination


def _fill(store: Store, spec: SweepSpec, destination: Destination, print_line: PrintLine) -> None:
    """Send the finished trials that MLflow lacks, unless a driver runs the sweep, which sends them itself."""
    from sweeps.tracking.mlflow.missing import find_missing

    asked, finished = set(store.design()), store.finished()
    members = finished & asked if asked else finished
    missing = find_missing(destination, members)
    if missing and (driver := store.holder()):
        print_line(f"MLflow lacks {len(missing)} finished trials; {driver}, which runs the sweep, sends them")
        return
    if not missing:
        return
    print_line(f"filling MLflow from {store.location}: it lacks {len(missing)} of {len(members)} finished trials ...")
    with tempfile.TemporaryDirectory() as folder:
        spool = _copy_spool(store, Path(folder) / SPOOL)
        recorder = EventRecorder(spec, spool, store, MlflowTracker(spec, store, spool, destination))
        _restore(recorder, spec, store, members)
        recorder.conclude(finished=len(members) >= (len(asked) or spec.total), best=[])
        _send(recorder.delivery, print_line)


def _restore(recorder: EventRecorder, spec: SweepSpec, store: Store, members: set[str]) -> None:
    """Spool what the copy of the spool lacks of the sweep and its finished trials."""
    if not recorder.spool.holds_sweep():
        recall_plugins(store, dump_plugins(spec.plugins or ()))
        recorder.sweep(spec, store.spec() or "")
    absent = {fingerprint for fingerprint in members if not recorder.spool.holds_end(fingerprint)}
    for fingerprint, record in store.results().items() if absent else ():
        if fingerprint in absent:
            result = FitResult({name: value for name, value in record.items() if name != "curves"}, record["curves"])
            recorder.restore(stored_facts(store, fingerprint, record), result, _began(store, fingerprint, record))


def _began(store: Store, fingerprint: str, record: dict[str, Any]) -> int:
    """Milliseconds since 1970 of the first attempt at a trial, else of its first point."""
    attempts = [round(1000 * attempt["time"]) for attempt in store.attempts(fingerprint) if "time" in attempt]
    return min([*attempts[:1], *(point["time"] for point in record["curves"])], default=0)


def _send(delivery: Delivery, print_line: PrintLine) -> None:
    """Send everything, with a line after each batch of several."""
    progress = delivery.spool.progress
    delivery.connect()
    while not delivery.spool.is_empty:
        position = delivery.spool.progress.position
        delivery.deliver()
        progress = delivery.spool.progress
        if progress.position == position:  # a torn last line
            break
        print_line(f"  {100 * progress.position // delivery.spool.size} % sent")
    for line in progress.describe_aside(transient=False):
        print_line(f"MLflow refused {line}")


def _copy_spool(store: Store, folder: Path) -> Spool:
    """A spool with the events of the store's spool, if that is on this machine."""
    source = store.driver_folder / SPOOL
    if source.exists() and is_spool_of(source, store.identity()):
        shutil.copytree(source, folder)
    return Spool(folder)


def _stored_spec(store: Store) -> SweepSpec:
    """The spec of the last run, with the name and the storage that the store has now."""
    storage, _, name = store.location.rpartition("/")
    spec = parse_stored_spec(store.spec() or "", f"{store.location}/{SPEC}", {}, imports_plugins=False)
    return spec.model_copy(update={"storage": storage, "name": name})


@contextmanager
def _writable(destination: Destination, print_line: PrintLine) -> Iterator[Destination]:
    """The destination, or a temporary one if it is a database in a folder that cannot be written."""
    if destination.artifact_root is None:  # a server
        yield destination
        return
    root = local_root(destination.location.rpartition("/")[0])
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as error:
        print_line(f"{root} cannot be written ({error.strerror}): MLflow's database is a temporary one until this ends")
        with tempfile.TemporaryDirectory() as folder:
            yield replace(destination, uri=f"{SQLITE}{folder}/{DATABASE}", artifact_root=Path(folder) / ARTIFACTS)
        return
    yield destination
