"""Fixed ports, which a firewall can allow; by default Ray takes any free ports."""

import os

HEAD, DASHBOARD, MLFLOW = 6379, 8265, 5000
HEAD_RANGE = 6400  # first of 200 ports: those of the node's services, then those of its processes
WORKER_RANGE = int(os.environ.get("FIRST_PORT", "6600"))
SERVICES = (
    "node-manager",
    "object-manager",
    "dashboard-agent-listen",
    "dashboard-agent-grpc",
    "runtime-env-agent",
    "metrics-export",
)
AGENT = SERVICES.index("dashboard-agent-listen")  # the port of the health check of a node


def node_options(first: int) -> list[str]:
    """Options of `ray start`: the address of this node, if NODE_ADDRESS gives it, and ports from `first` on."""
    address = os.environ.get("NODE_ADDRESS")
    services = [f"--{name}-port={first + number}" for number, name in enumerate(SERVICES)]
    processes = [f"--min-worker-port={first + 10}", f"--max-worker-port={first + 199}"]
    return [*([f"--node-ip-address={address}"] if address else []), *services, *processes]
