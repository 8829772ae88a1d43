"""From what a user names as a sweep to its store: a spec, a folder, a URI, or a name in the storage."""

import os
from contextlib import suppress
from itertools import islice
from pathlib import Path

from lightning_modules.yaml_file import read_yaml
from rrm.errors import UserError
from rrm.files import expand_home, join_location
from sweeps.store.backend import Backend
from sweeps.store.open_backend import open_backend
from sweeps.store.store import LOCAL_STORAGE, SPEC, Store

STORAGE_VARIABLE = "RRM_STORAGE"
TABLES = {".csv", ".parquet"}
ANOTHER = f": name another storage with --storage or {STORAGE_VARIABLE}"
MAX_LISTED_SWEEPS = 20  # in an error


def choose_storage(option: str | None) -> str | None:
    """The storage that a user names: the option, else RRM_STORAGE; None where neither is given."""
    return option or os.environ.get(STORAGE_VARIABLE) or None


def find_store(target: str, storage: str | None = None) -> Store:
    """The store of a sweep that was run.

    A word without `/` is a spec if a file has this name, else the name of a sweep in the storage, else a folder.

    Args:
        storage: takes the place of RRM_STORAGE, which takes the place of `storage` in a spec. The default is `runs`.

    Raises:
        UserError: no sweep was run there; the line states where it was looked for, and which sweeps the storage holds.
    """
    path = Path(expand_home(target))
    if path.suffix in TABLES:
        raise UserError(target, "is a table of runs: rrm-analyze --csv FILE reads it")
    if _is_file(path):
        return _store_of_spec(target, path, choose_storage(storage))
    if "/" not in target:
        return _store_of_name(target, choose_storage(storage) or str(LOCAL_STORAGE))
    if storage is not None:
        raise UserError("--storage", f"has no effect on the folder or URI {target!r}: leave it out, or give the sweep's name")
    return _opened(Store(target), target)


def _is_file(path: Path) -> bool:
    """Whether there is a file.

    Raises:
        UserError: its folder cannot be read, or no file can have this name.
    """
    try:
        return path.is_file()
    except OSError as error:
        raise UserError(str(path), f"cannot be read: {error.strerror}") from None


def _store_of_spec(target: str, path: Path, storage: str | None) -> Store:
    sections = read_yaml(path)
    name, stated = sections.get("name"), sections.get("storage", str(LOCAL_STORAGE))
    if not isinstance(name, str) or not isinstance(stated, str):
        raise UserError(target, "is not a sweep: it has no name, or a storage that is not text")
    location = join_location(storage or expand_home(stated), name)
    store = Store(location)
    if store.spec() is None:
        raise UserError(target, f"has never been run: there is no {location}/{SPEC}{_describe_sweeps(location, ANOTHER)}")
    return store


def _store_of_name(name: str, storage: str) -> Store:
    location = join_location(storage, name)
    store = Store(location)
    if store.spec() is None:
        if Path(name).is_dir():
            return _opened(Store(name), name)
        problem = f"is neither a file nor a sweep in the storage {storage}: there is no {location}/{SPEC}"
        raise UserError(name, f"{problem}{_describe_sweeps(location, ANOTHER)}")
    return store


def _opened(store: Store, target: str) -> Store:
    """The store itself, if a sweep was run in it."""
    if store.spec() is not None:
        return store
    is_absent = "://" not in store.location and not Path(store.location).exists()
    problem = "there is no such file or folder" if is_absent else f"there is no {SPEC} in it"
    sweeps = ", ".join(_first_sweeps(target))
    raise UserError(target, f"is not a sweep: {problem}" + (f"; sweeps in it: {sweeps}" if sweeps else _describe_sweeps(target)))


def _describe_sweeps(location: str, remedy: str = "") -> str:
    """The end of an error: the sweeps in the storage of a location; the remedy where it holds none."""
    storage = location.rstrip("/").rpartition("/")[0] or "."
    sweeps = [] if storage.endswith(":/") else _first_sweeps(storage)
    if sweeps:
        return f"; sweeps in {storage}: {', '.join(sweeps)}"
    return f"; {storage} holds no sweeps{remedy}"


def list_sweeps(storage: str, count: int | None = None) -> list[str]:
    """Names of the sweeps in a storage, at most `count` of them; also of those whose spec cannot be read.

    Raises:
        UserError: the storage cannot be read.
    """
    backend = open_backend(storage)
    return list(islice((name for name in backend.folders() if _holds_spec(backend, name)), count))


def _holds_spec(backend: Backend, name: str) -> bool:
    try:
        return backend.read(f"{name}/{SPEC}") is not None
    except UserError:  # its own commands have the reason
        return True


def _first_sweeps(storage: str) -> list[str]:
    """Names of the first sweeps in a storage; empty where it cannot be listed."""
    with suppress(UserError):
        return list_sweeps(storage, MAX_LISTED_SWEEPS)
    return []
