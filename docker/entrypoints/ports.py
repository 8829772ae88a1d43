"""Fixed ports, so that a firewall can be told: Ray would take any that are free."""

import os

HEAD, DASHBOARD, MLFLOW = 6379, 8265, 5000
HEAD_RANGE = 6400  # a range of 200: first a node's own services, then its processes
WORKER_RANGE = int(os.environ.get("FIRST_PORT", "6600"))
SERVICES = (
    "node-manager",
    "object-manager",
    "dashboard-agent-listen",
    "dashboard-agent-grpc",
    "runtime-env-agent",
    "metrics-export",
)
AGENT = SERVICES.index("dashboard-agent-listen")  # says whether a node is well


def node_options(first: int) -> list[str]:
    """Options of `ray start`: this node's address, where it is not for Ray to guess, and ports within its range."""
    address = os.environ.get("NODE_ADDRESS")
    services = [f"--{name}-port={first + number}" for number, name in enumerate(SERVICES)]
    processes = [f"--min-worker-port={first + 10}", f"--max-worker-port={first + 199}"]
    return [*([f"--node-ip-address={address}"] if address else []), *services, *processes]
