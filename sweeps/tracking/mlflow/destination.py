"""Where a sweep is tracked, and the facts that distinguish its experiment from the experiment of another sweep of the same name."""

from dataclasses import dataclass
from pathlib import Path

from sweeps.spec.sweep import SweepSpec
from sweeps.store.store import Store
from sweeps.tracking.mlflow.address import artifact_root, check_tracking_uri, local_root, tracking_uri
from sweeps.tracking.progress import SERVERS, Progress
from sweeps.tracking.spool import OLD_CURSOR, SPOOL, is_spool_of


@dataclass(frozen=True)
class Destination:
    """An experiment on a server, and the sweep that is to be in it."""

    uri: str
    artifact_root: Path | None  # folder of artifacts for the database beside the sweeps; None for a server
    sweep: str
    location: str  # the store's folder or URI
    identity: str | None = None  # the store's identity; None if the store has none yet
    old_trials: frozenset[str] = frozenset()  # fingerprints of trials that began before stores had identities
    last_experiment: tuple[str, int] | None = None  # ID and creation time of the experiment that received this spool
    renaming: str = "name=NEW"  # how to give the sweep another name, for messages


def find_destination(spec: SweepSpec, store: Store) -> Destination:
    """The destination of a sweep; creates nothing.

    Raises:
        UserError: MLFLOW_TRACKING_URI names no place where MLflow keeps runs.
    """
    storage, identity, spool = local_root(spec.storage), store.identity(), store.driver_folder / SPOOL
    uri = tracking_uri(storage)
    check_tracking_uri(uri)
    is_old = identity is None or (spool / OLD_CURSOR).exists()
    return Destination(
        uri=uri,
        artifact_root=artifact_root(storage),
        sweep=spec.name,
        location=store.location,
        identity=identity,
        old_trials=frozenset(store.begun()) if is_old else frozenset(),
        last_experiment=Progress(spool / SERVERS, uri).experiment if is_spool_of(spool, identity) else None,
    )
