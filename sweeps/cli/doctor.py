"""`rrm-sweep doctor`: what this machine has, what is missing, and what to do about it."""

import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from packaging.requirements import Requirement

from rrm.errors import UserError
from rrm.tasks.cache import cache_folder
from sweeps.store.folder import Folder
from sweeps.store.open_backend import open_backend
from sweeps.tracking.mlflow.address import VARIABLE, check_tracking_uri, local_root, tracking_uri
from sweeps.worker.node_check import check_ray_folder

GIGABYTE = 1e9
SPARE_BYTES = 2 * GIGABYTE  # of disk, below which a sweep may not finish
MAX_SKEW_SECONDS = 5.0
TIMEOUT_SECONDS = 5.0
DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
ABSENT = f"start it, or unset {VARIABLE}; a sweep runs without it and delivers later"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    state: Literal["ok", "warning", "bad"]
    what: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.state:8}{self.what}" + (f": {self.advice}" if self.advice else "")


def examine(storage: str) -> Iterator[Finding]:
    """Versions, cores, memory, GPUs, Ray's folder, storage, data cache, tracking server and clock."""
    yield from _versions()
    yield from _hardware()
    yield _ray_folder()
    yield _storage(storage)
    yield _writable("data cache", cache_folder(), "name another one in RRM_DATA_CACHE")
    yield from _tracking(local_root(storage))


def _versions() -> Iterator[Finding]:
    """The packages that pyproject.toml asks for, in its ranges."""
    yield Finding("ok", f"Python {sys.version.split()[0]}")
    for text in requires("rrm-sweeps") or []:
        needed = Requirement(text)
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(needed.name)
        except PackageNotFoundError:
            yield Finding("bad", f"{needed.name} is not installed", f"pip install '{needed}'")
            continue
        if needed.specifier.contains(found, prereleases=True):
            continue
        yield Finding("bad", f"{needed.name} {found} is not {needed.specifier}", f"pip install '{needed}'")
    key = ", ".join(f"{name} {version(name)}" for name in ("torch", "lightning", "ray", "optuna", "mlflow"))
    yield Finding("ok", key)


def _hardware() -> Iterator[Finding]:
    import torch

    yield Finding("ok", f"{os.cpu_count()} CPU cores")
    count = torch.cuda.device_count()
    if count:
        yield Finding("ok", f"{count} GPUs ({torch.cuda.get_device_name(0)})")
    elif Path("/dev/nvidia0").exists():
        yield Finding("bad", "there is a GPU that torch does not see", "install a CUDA build of torch")
    else:
        yield Finding("ok", "no GPU: trials run on CPU cores")
    shared = shutil.disk_usage("/dev/shm") if Path("/dev/shm").exists() else None
    if shared is not None and shared.total < GIGABYTE:
        advice = "Ray's object store will be slow; give a container --shm-size=2g"
        yield Finding("warning", f"/dev/shm has {shared.total / GIGABYTE:.1f} GB", advice)


def _ray_folder() -> Finding:
    """Whether Ray can open its sockets."""
    try:
        check_ray_folder()
    except UserError as error:
        return Finding("bad", str(error))
    return Finding("ok", "Ray's temporary folder has a short enough path")


def _storage(storage: str) -> Finding:
    """A folder, or a URI that takes an object."""
    advice = "choose another one with --storage or RRM_STORAGE"
    try:
        backend = open_backend(storage)
        if isinstance(backend, Folder):
            return _writable("storage", backend.path, advice)
        backend.prepare()
    except UserError as error:
        return Finding("bad", f"storage {error}", advice)
    return Finding("ok", f"storage {storage}")


def _writable(name: str, folder: Path, advice: str) -> Finding:
    """Whether a file can be written there, and how much room is left."""
    place = folder.resolve()
    there = next(parent for parent in (place, *place.parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        return Finding("bad", f"{name} {place} cannot be written ({error.strerror})", advice)
    free = shutil.disk_usage(there).free
    if free < SPARE_BYTES:
        return Finding("warning", f"{name} {place} has {free / GIGABYTE:.1f} GB left", advice)
    return Finding("ok", f"{name} {place}, {free / GIGABYTE:.0f} GB left")


def _tracking(storage: Path) -> Iterator[Finding]:
    """Whether runs can be kept where MLFLOW_TRACKING_URI says; how far the clock of a server is from ours."""
    uri = os.environ.get(VARIABLE, "")
    try:
        check_tracking_uri(tracking_uri(storage))
    except UserError as error:
        yield Finding("bad", str(error))
        return
    if uri.startswith("http"):
        yield _server(uri)
    elif urlsplit(uri).hostname is not None:
        yield _database(uri)
    else:
        yield Finding("ok", f"tracking in {VARIABLE if uri else storage / 'mlflow.db'}")


def _server(uri: str) -> Finding:
    try:
        with urlopen(Request(f"{uri.rstrip('/')}/health"), timeout=TIMEOUT_SECONDS) as answer:
            theirs = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (URLError, OSError, TypeError, ValueError) as error:
        return Finding("warning", f"the tracking server does not answer ({getattr(error, 'reason', error)})", ABSENT)
    skew = abs(time.time() - theirs)
    if skew > MAX_SKEW_SECONDS:
        advice = "points will lie at wrong times: synchronise the clocks"
        return Finding("warning", f"the tracking server's clock is {skew:.0f} s off", advice)
    return Finding("ok", "the tracking server answers, and its clock agrees")


def _database(uri: str) -> Finding:
    """Whether a database server accepts connections at this address."""
    parts = urlsplit(uri)
    try:
        port = parts.port or DATABASE_PORTS.get(parts.scheme.partition("+")[0], 0)
        with socket.create_connection((str(parts.hostname), port), TIMEOUT_SECONDS):
            return Finding("ok", f"the tracking database listens at {parts.hostname}:{port}")
    except (OSError, ValueError) as error:
        return Finding("warning", f"the tracking database does not answer ({error})", ABSENT)
