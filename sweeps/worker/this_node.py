"""Facts from Ray: the node of this worker, and whether another node has died."""

import os
import time
from typing import Any

import ray

from sweeps.store.attempts import Worker

NODE_DEATH_SECONDS = 15.0  # Ray lists a node as alive for up to this long after it died
LOOK_SECONDS = 0.5  # time between two checks


def describe_worker() -> Worker:
    """This process and the node that it runs on."""
    return Worker(
        host=os.uname().nodename,
        address=ray.util.get_node_ip_address(),  # type: ignore[no-untyped-call]
        process=os.getpid(),
        node=ray.get_runtime_context().get_node_id(),
    )


def alive_nodes() -> dict[str, dict[str, Any]]:
    """Ray's entries of the nodes that are alive, by id; `Resources` and `NodeManagerAddress` are keys of an entry."""
    return {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}  # type: ignore[no-untyped-call]


def has_died(node: str) -> bool:
    """Whether a node has died. Waits up to `NODE_DEATH_SECONDS`, because Ray notices it late."""
    if node == ray.get_runtime_context().get_node_id():
        return False
    deadline = time.monotonic() + NODE_DEATH_SECONDS
    while time.monotonic() < deadline:
        if node not in alive_nodes():
            return True
        time.sleep(LOOK_SECONDS)
    return False
