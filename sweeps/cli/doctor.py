"""`rrm-sweep doctor`: checks of this machine, each with advice where it fails."""

import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from importlib.metadata import EntryPoint, PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from packaging.requirements import Requirement

from rrm.errors import UserError
from rrm.plugins import EXTENSION_GROUPS, extension_points, load_extension, package_of
from rrm.registry import registry_of
from rrm.tasks.cache import cache_folder
from sweeps.spec.resources import GIGABYTE
from sweeps.store.folder import Folder
from sweeps.store.open_backend import open_backend
from sweeps.tracking.mlflow.address import VARIABLE, check_tracking_uri, local_root, tracking_uri
from sweeps.worker.node_check import check_ray_folder

MIN_DISK_BYTES = 2 * GIGABYTE  # with less free disk space a sweep may not finish
MAX_SKEW_SECONDS = 5.0
TIMEOUT_SECONDS = 5.0
DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
ABSENT = f"start it, or unset {VARIABLE}; meanwhile a sweep runs, and sends its results later"


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    state: Literal["ok", "warning", "bad"]
    what: str  # what was checked, and its value
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.state:8}{self.what}" + (f": {self.advice}" if self.advice else "")


def examine(storage: str) -> Iterator[Finding]:
    """Versions, installed plug-ins, cores, memory, GPUs, Ray's folder, storage, data cache, tracking server and clock."""
    yield from _versions()
    yield from _plugins()
    yield from _hardware()
    yield _ray_folder()
    yield _storage(storage)
    yield _writable("data cache", cache_folder(), "set RRM_DATA_CACHE to another folder")
    yield from _tracking(local_root(storage))


def _versions() -> Iterator[Finding]:
    """The packages that pyproject.toml requires, against its ranges of versions."""
    yield Finding("ok", f"Python {sys.version.split()[0]}")
    for text in requires("rrm-sweeps") or []:
        needed = Requirement(text)
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = version(needed.name)
        except PackageNotFoundError:
            yield Finding("bad", f"{needed.name} is not installed", f"pip install '{needed}'")
            continue
        if not needed.specifier.contains(installed, prereleases=True):
            yield Finding("bad", f"{needed.name} must be {needed.specifier}, got {installed}", f"pip install '{needed}'")
    yield Finding("ok", ", ".join(f"{name} {version(name)}" for name in ("torch", "lightning", "ray", "optuna", "mlflow")))


def _plugins() -> Iterator[Finding]:
    """The kinds of each installed package with plug-ins; nothing where there is none."""
    registry = registry_of(())
    sources = registry.plugins
    yield from (Finding("bad", str(error)) for error in registry.broken.values())
    for plugin in dict.fromkeys(sources.values()):
        kinds = ", ".join(f"{section} {kind}" for (section, kind), source in sources.items() if source == plugin)
        yield Finding("ok", f"plug-in {plugin.code} ({kinds})")
    for family in EXTENSION_GROUPS:
        for point in extension_points(family):
            yield _extension(point, family)


def _extension(point: EntryPoint, family: str) -> Finding:
    """Whether an installed sampler, tracker or law can be imported."""
    try:
        load_extension(point, family)
    except UserError as error:
        return Finding("bad", str(error))
    return Finding("ok", f"plug-in {package_of(point).code} ({family} {point.name})")


def _hardware() -> Iterator[Finding]:
    import torch

    yield Finding("ok", f"{os.cpu_count()} CPU cores")
    count = torch.cuda.device_count()
    if count:
        yield Finding("ok", f"{count} GPUs ({torch.cuda.get_device_name(0)})")
    elif Path("/dev/nvidia0").exists():
        yield Finding("bad", "torch does not find the GPU of this machine", "install a CUDA build of torch")
    else:
        yield Finding("ok", "no GPU: trials run on CPU cores")
    shared_bytes = shutil.disk_usage("/dev/shm").total if Path("/dev/shm").exists() else GIGABYTE
    if shared_bytes < GIGABYTE:
        advice = "Ray's object store will be slow; start a container with --shm-size=2g"
        yield Finding("warning", f"/dev/shm has {shared_bytes / GIGABYTE:.1f} GB", advice)


def _ray_folder() -> Finding:
    """Whether the path of Ray's temporary folder is short enough for its sockets."""
    try:
        check_ray_folder()
    except UserError as error:
        return Finding("bad", str(error))
    return Finding("ok", "the path of Ray's temporary folder is short enough")


def _storage(storage: str) -> Finding:
    """Whether the storage can be written: a folder, or a bucket of an object store."""
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
    """Whether a file can be written into a folder, and how much disk space is free; the folder need not exist yet."""
    folder = folder.resolve()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        return Finding("bad", f"{name} {folder} cannot be written ({error.strerror})", advice)
    free_bytes = shutil.disk_usage(existing).free
    if free_bytes < MIN_DISK_BYTES:
        return Finding("warning", f"{name} {folder} has {free_bytes / GIGABYTE:.1f} GB of free disk space", advice)
    return Finding("ok", f"{name} {folder}, {free_bytes / GIGABYTE:.0f} GB free")


def _tracking(storage: Path) -> Iterator[Finding]:
    """Whether MLFLOW_TRACKING_URI names a place for runs, and whether a server or database there answers."""
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
    """Whether a tracking server answers, and by how many seconds its clock differs from that of this machine."""
    try:
        with urlopen(Request(f"{uri.rstrip('/')}/health"), timeout=TIMEOUT_SECONDS) as answer:
            theirs = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (URLError, OSError, TypeError, ValueError) as error:
        return Finding("warning", f"the tracking server does not answer ({getattr(error, 'reason', error)})", ABSENT)
    skew = abs(time.time() - theirs)
    if skew > MAX_SKEW_SECONDS:
        advice = "points of curves get wrong times: synchronise the clocks"
        return Finding("warning", f"the clock of the tracking server differs by {skew:.0f} s", advice)
    return Finding("ok", "the tracking server answers, and its clock agrees with this machine")


def _database(uri: str) -> Finding:
    """Whether a database server accepts connections at this address."""
    parts = urlsplit(uri)
    try:
        port = parts.port or DATABASE_PORTS.get(parts.scheme.partition("+")[0], 0)
        with socket.create_connection((str(parts.hostname), port), TIMEOUT_SECONDS):
            return Finding("ok", f"the tracking database listens at {parts.hostname}:{port}")
    except (OSError, ValueError) as error:
        return Finding("warning", f"the tracking database does not answer ({error})", ABSENT)
