"""The address of MLflow: a server or a database. This module does not import mlflow, which takes seconds."""

import os
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from rrm.errors import UserError
from rrm.files import expand_home
from sweeps.store.open_backend import URI
from sweeps.store.store import LOCAL_STORAGE, SQLITE
from sweeps.tracking.secrets import blank_secrets

VARIABLE = "MLFLOW_TRACKING_URI"
FOLDERS_ALLOWED = "MLFLOW_ALLOW_FILE_STORE"  # variable of MLflow itself
PLUGINS = "mlflow.tracking_store"  # entry points of packages that add a scheme to MLflow
DATABASE, ARTIFACTS = "mlflow.db", "mlartifacts"  # file and folder beside the sweeps
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


def local_root(storage: str) -> Path:
    """Local folder beside which MLflow's default database lies: the storage itself, unless it is a URI."""
    return LOCAL_STORAGE if URI.match(storage) else Path(expand_home(storage))


def tracking_uri(storage: Path) -> str:
    """The address of MLflow: MLFLOW_TRACKING_URI, or a SQLite file beside the sweeps.

    The path of a SQLite file is absolute; a leading `~` in it is the home folder.

    Raises:
        UserError: there is no such home.
    """
    uri = os.environ.get(VARIABLE) or f"{SQLITE}{storage / DATABASE}"
    path = uri.removeprefix(SQLITE)
    return uri if path in {uri, "", ":memory:"} else f"{SQLITE}{Path(expand_home(path)).resolve()}"


def artifact_root(storage: Path) -> Path | None:
    """The folder of artifacts for the database beside the sweeps; None for a server, which has its own."""
    return None if os.environ.get(VARIABLE) else storage.resolve() / ARTIFACTS


def is_local(uri: str) -> bool:
    """Whether a URI names a file, which needs no credentials."""
    return uri.startswith("sqlite:")


def is_absent(uri: str) -> bool:
    """Whether a URI names a SQLite file that does not exist; a client would create it."""
    path = uri.removeprefix(SQLITE)
    return path != uri and not Path(path).exists()


def check_tracking_uri(uri: str) -> None:
    """Refuse a URI at which MLflow cannot store runs; does not import mlflow.

    Raises:
        UserError: it is a folder, has an unknown scheme, or needs a package that is not installed.
    """
    if uri == DATABRICKS:
        return
    scheme = uri.partition(":")[0].lower() if ":" in uri else ""
    if scheme in {"", "file"}:
        if os.environ.get(FOLDERS_ALLOWED, "").lower() not in {"1", "true"}:
            raise UserError(VARIABLE, f"must not be a folder, which MLflow 3 does not support, got {blank_secrets(uri)}: {REMEDY}")
        return
    known = SERVER_SCHEMES | DATABASE_SCHEMES | {plugin.name for plugin in entry_points(group=PLUGINS)}
    if scheme.partition("+")[0] not in known:
        raise UserError(
            VARIABLE, f"must be an address of a server or database that MLflow supports, got {blank_secrets(uri)}: {REMEDY}"
        )
    package = PACKAGES.get(scheme)
    if package is not None and find_spec(package) is None:
        remedy = (
            "pip install 'rrm-sweeps[postgres]' and use the scheme postgresql+psycopg:" if "postgres" in scheme else "install it"
        )
        raise UserError(VARIABLE, f"requires the package {package} for {scheme}:, which is not installed: {remedy}")
