"""Where a sweep is tracked, and the facts that distinguish its experiment from the experiment of another sweep of the same name."""

import os
from dataclasses import dataclass
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from rrm.errors import UserError
from sweeps.spec.sweep import SweepSpec
from sweeps.store.store import Store, local_root, tracking_uri
from sweeps.tracking.progress import SERVERS, Progress
from sweeps.tracking.secrets import blank_secrets
from sweeps.tracking.spool import OLD_CURSOR, is_spool_of

VARIABLE = "MLFLOW_TRACKING_URI"
FOLDERS_ALLOWED = "MLFLOW_ALLOW_FILE_STORE"  # MLflow's own switch
PLUGINS = "mlflow.tracking_store"  # entry points of packages that add a scheme to MLflow
DATABRICKS = "databricks"
SERVER_SCHEMES = {"http", "https", DATABRICKS}
DATABASE_SCHEMES = {"sqlite", "postgresql", "mysql", "mssql"}
REMEDY = "name a server (http://HOST:5000) or a database (sqlite:///mlflow.db), or unset it for a database beside the sweeps"
PACKAGES = {
    "postgresql+psycopg": "psycopg",
    "postgresql+psycopg2": "psycopg2",
    "postgresql": "psycopg2",
    "mysql+pymysql": "pymysql",
}


@dataclass(frozen=True)
class Destination:
    """An experiment on a server, and the sweep that is to be in it."""

    uri: str
    artifact_root: Path | None  # artifacts' folder for the database beside the sweeps; None for a server
    sweep: str
    location: str  # the store's folder or URI
    identity: str | None = None  # the store's identity; None if the store has none yet
    old_trials: frozenset[str] = frozenset()  # fingerprints that were begun before stores had identities
    last_experiment: tuple[str, int] | None = None  # ID and creation time of the one that received this spool
    renaming: str = "name=NEW"  # what gives the sweep another name, in messages

    def is_copy_of(self, location: str) -> bool:
        """Whether the store at another location is this one's original: it has the same identity, and is not the same folder."""
        try:
            return Store(location).identity() == self.identity and not _is_same_folder(location, self.location)
        except Exception:  # a location that cannot be read from here, of any kind of storage
            return False


def find_destination(spec: SweepSpec, store: Store, spool_folder: Path) -> Destination:
    """The destination of a sweep; creates nothing.

    Raises:
        UserError: MLFLOW_TRACKING_URI names no place where MLflow keeps runs.
    """
    storage, identity = local_root(spec.storage), store.identity()
    uri = tracking_uri(storage)
    check_tracking_uri(uri)
    is_old = identity is None or (spool_folder / OLD_CURSOR).exists()
    return Destination(
        uri=uri,
        artifact_root=artifact_root(storage),
        sweep=spec.name,
        location=store.location,
        identity=identity,
        old_trials=frozenset(store.begun()) if is_old else frozenset(),
        last_experiment=Progress(spool_folder / SERVERS, uri).experiment if is_spool_of(spool_folder, identity) else None,
    )


def artifact_root(storage: Path) -> Path | None:
    """Where artifacts of the local default go; a server has its own place."""
    return None if os.environ.get(VARIABLE) else storage.resolve() / "mlartifacts"


def check_tracking_uri(uri: str) -> None:
    """Refuse what MLflow cannot keep runs in, without importing it.

    Raises:
        UserError: it is a folder, has an unknown scheme, or needs a package that is not installed.
    """
    if uri == DATABRICKS:
        return
    scheme = uri.partition(":")[0].lower() if ":" in uri else ""
    if scheme in {"", "file"}:
        if os.environ.get(FOLDERS_ALLOWED, "").lower() not in {"1", "true"}:
            raise UserError(VARIABLE, f"MLflow keeps no runs in a folder any more, got {blank_secrets(uri)}: {REMEDY}")
        return
    known = SERVER_SCHEMES | DATABASE_SCHEMES | {plugin.name for plugin in entry_points(group=PLUGINS)}
    if scheme.partition("+")[0] not in known:
        raise UserError(VARIABLE, f"MLflow keeps no runs at {scheme}:, got {blank_secrets(uri)}: {REMEDY}")
    package = PACKAGES.get(scheme)
    if package is not None and find_spec(package) is None:
        remedy = (
            "pip install 'rrm-sweeps[postgres]' and begin it with postgresql+psycopg:" if "postgres" in scheme else "install it"
        )
        raise UserError(VARIABLE, f"{scheme}: needs the package {package}, which is not installed: {remedy}")


def _is_same_folder(one: str, other: str) -> bool:
    return one == other or (Path(one).exists() and Path(other).exists() and Path(one).samefile(other))
