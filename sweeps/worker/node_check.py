"""Checks the nodes of a Ray cluster: each must see the storage and run the same code as the driver."""

import functools
import hashlib
import os
import re
import socket
import sys
import uuid
from importlib.metadata import version
from pathlib import Path
from platform import python_version

from rrm.errors import UserError
from rrm.plugins import installed_packages
from sweeps.store.store import Store

TOKEN = "token"  # file of the store that the driver writes and every node reads
ANSWER_SECONDS = 60.0
CONNECT_SECONDS = 10.0
ROOT = Path(__file__).parents[2]
COMPARED = ("torch", "lightning", "ray", "numpy")
MAX_SOCKET_BYTES = 103 if sys.platform == "darwin" else 107  # the system's limit on the path of a Unix socket
SOCKET = "ray/session_2000-01-01_00-00-00_000000_{process}/sockets/plasma_store"  # Ray's longest, below its temporary folder


def check_address(address: str) -> None:
    """Refuse an address at which no process listens: Ray itself would try for many minutes.

    Raises:
        UserError: the text is no address, or no process listens at it.
    """
    if address == "auto":
        return
    parts = re.fullmatch(r"(?P<host>[^/]+):(?P<port>\d{1,5})", address)
    if parts is None:
        raise UserError("--address", f"must be auto or host:port, such as head:6379, got {address!r}")
    try:
        socket.create_connection((parts["host"], int(parts["port"])), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError("--address", f"nothing answers at {address} ({getattr(error, 'strerror', None) or error})") from None


def check_ray_folder() -> None:
    """Refuse a temporary folder in which Ray cannot open its sockets.

    Raises:
        UserError: their paths are longer than the system allows.
    """
    variable = next((name for name in ("RAY_TMPDIR", "TMPDIR") if name in os.environ), None)
    path = f"{os.environ[variable] if variable else '/tmp'}/{SOCKET.format(process=os.getpid())}"
    length = len(os.fsencode(path))
    if length > MAX_SOCKET_BYTES:
        rule = f"must be {length - MAX_SOCKET_BYTES} bytes shorter for Ray's sockets (at most {MAX_SOCKET_BYTES} bytes a path)"
        raise UserError(variable or "", f"{rule}, got {os.environ[variable or '']!r}: set RAY_TMPDIR=/tmp")


def describe_node(location: str) -> dict[str, str]:
    """The token as this machine reads it, and the versions with which a trial would run."""
    store = Store(location)
    token = store.backend.read(TOKEN)
    return {"token": "" if token is None else token.decode(), **describe_code()}


@functools.cache  # a process keeps the code that it loaded when the files change
def describe_code() -> dict[str, str]:
    """The versions with which a trial runs in this process, those of installed plug-ins included."""
    versions = {name: version(name) for name in COMPARED} | installed_packages()
    return {"Python": python_version(), "the code": digest_code()} | versions


def digest_code(root: Path = ROOT) -> str:
    """Digest of this project's source files below a folder."""
    digest = hashlib.sha256()
    for package in ("rrm", "lightning_modules", "sweeps"):
        for file in sorted((root / package).rglob("*.py")):
            digest.update(f"{file.relative_to(root)}".encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def describe_driver(store: Store) -> dict[str, str]:
    """Facts that every node must share: a new token in the store, and the versions of this process."""
    store.backend.write(TOKEN, uuid.uuid4().hex.encode())
    return describe_node(store.location)


def check_nodes(store: Store, driver: dict[str, str]) -> int:
    """Check every node that is alive, and count them. A node that joins later is checked before its first trial.

    Raises:
        UserError: one of them cannot see the storage, differs from this driver, or does not answer.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from sweeps.worker.this_node import alive_nodes

    nodes = alive_nodes().values()
    ask = ray.remote(num_cpus=0, max_retries=0)(describe_node)
    answers = {
        node["NodeManagerAddress"]: ask.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(store.location)
        for node in nodes
    }
    for address, answer in answers.items():
        try:
            theirs = ray.get(answer, timeout=ANSWER_SECONDS)
        except ray.exceptions.GetTimeoutError:
            raise UserError(f"node {address}", f"does not answer within {ANSWER_SECONDS:g} s") from None
        except ray.exceptions.RayError as error:
            reason = ([line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__])[-1]
            raise UserError(f"node {address}", f"cannot run a trial: {reason}") from None
        misfit = find_misfit(theirs, driver, store.location)
        if misfit:
            raise UserError(f"node {address}", misfit)
    return len(nodes)


def find_misfit(theirs: dict[str, str], driver: dict[str, str], location: str) -> str | None:
    """Why a node may not run trials of this driver, or None."""
    if theirs["token"] != driver["token"]:
        return f"cannot see the storage {location}: take a folder that all nodes share, or a URI"
    for name, value in driver.items():
        if theirs.get(name) != value:
            return f"differs from this driver: {name} is {theirs.get(name, 'absent')} there and {value} here"
    return None
