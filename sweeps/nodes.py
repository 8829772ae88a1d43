"""The nodes of a Ray cluster: does each see the storage, and does it run the same code?"""

import hashlib
import re
import socket
import uuid
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

from rrm.errors import UserError
from sweeps.spec import Resources
from sweeps.store import Store

TOKEN = "token"  # what the driver writes and every node reads
ANSWER_SECONDS = 60.0
CONNECT_SECONDS = 10.0
COMPARED = ("torch", "lightning", "ray", "numpy")


def check_address(address: str) -> None:
    """Whether something listens where a cluster should be: Ray itself would try for many minutes.

    Raises:
        UserError: it is no address, or nothing listens there.
    """
    if address == "auto":
        return
    found = re.fullmatch(r"(?P<host>[^/]+):(?P<port>\d{1,5})", address)
    if found is None:
        raise UserError(f"must be auto or host:port, such as head:6379, got {address!r}", "--address")
    try:
        socket.create_connection((found["host"], int(found["port"])), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"nothing answers at {address} ({getattr(error, 'strerror', None) or error})", "--address") from None


def describe_node(location: str) -> dict[str, str]:
    """What this machine reads of the token, and the versions that a trial would run with."""
    store = Store(location)
    token = store.place.read(TOKEN)
    return {"token": "" if token is None else token.decode(), **describe_code()}


def describe_code() -> dict[str, str]:
    """The versions that a trial runs with on this machine."""
    return {"Python": python_version(), "the code": digest_code()} | {name: version(name) for name in COMPARED}


def digest_code() -> str:
    """Digest of this project's own source."""
    root = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for package in ("rrm", "lightning_modules", "sweeps"):
        for file in sorted((root / package).rglob("*.py")):
            digest.update(f"{file.relative_to(root)}".encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def check_nodes(store: Store) -> int:
    """Ask every node that is there; the number of nodes.

    Raises:
        UserError: one of them cannot see the storage, differs from this driver, or does not answer.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    token = uuid.uuid4().hex
    store.place.write(TOKEN, token.encode())
    ours = describe_node(store.location)
    nodes = [node for node in ray.nodes() if node["Alive"]]
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
            raise UserError(f"does not answer within {ANSWER_SECONDS:g} s", f"node {address}") from None
        except ray.exceptions.RayError as error:
            reason = [line for line in str(error).splitlines() if line.strip()][-1].strip()
            raise UserError(f"cannot run a trial: {reason}", f"node {address}") from None
        _compare(address, theirs, ours, store.location)
    return len(nodes)


def _compare(address: str, theirs: dict[str, str], ours: dict[str, str], location: str) -> None:
    if theirs["token"] != ours["token"]:
        raise UserError(f"cannot see the storage {location}: take a folder that all nodes share, or a URI", f"node {address}")
    for name, value in ours.items():
        if theirs[name] != value:
            raise UserError(f"differs from this driver: {name} is {theirs[name]} there and {value} here", f"node {address}")


def has_room(resources: Resources, nodes: list[dict[str, Any]]) -> bool:
    """Whether a node that is there now could run a trial; others may join later."""
    return any(node["Alive"] and resources.fit_into(node["Resources"]) for node in nodes)
