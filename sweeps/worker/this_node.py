"""Facts from Ray: the node of this worker, and whether another node has left the cluster."""

import os
import time

import ray

from sweeps.store.attempts import Worker

NODE_DEATH_SECONDS = 15.0  # Ray lists a node as alive for up to this long after it died
LOOK_SECONDS = 0.5


def describe_worker() -> Worker:
    """This process and the node that it runs on."""
    return Worker(
        host=os.uname().nodename,
        address=ray.util.get_node_ip_address(),
        process=os.getpid(),
        node=ray.get_runtime_context().get_node_id(),
    )


def has_died(node: str) -> bool:
    """Whether the node of an id has left the cluster; waits up to `NODE_DEATH_SECONDS`, since Ray notices it late."""
    if node == ray.get_runtime_context().get_node_id():
        return False
    deadline = time.monotonic() + NODE_DEATH_SECONDS
    while time.monotonic() < deadline:
        if node not in {known["NodeID"] for known in ray.nodes() if known["Alive"]}:
            return True
        time.sleep(LOOK_SECONDS)
    return False
