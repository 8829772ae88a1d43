"""Fixed ports, so that a firewall can be told: Ray would take any that are free."""

HEAD, DASHBOARD, MLFLOW = 6379, 8265, 5000
HEAD_RANGE, WORKER_RANGE = 6400, 6600  # each a range of 200; the first ten are a node's own services, the rest its processes


def ray_options(first: int) -> list[str]:
    """Options of `ray start` that keep a node within its range."""
    names = ("node-manager", "object-manager", "dashboard-agent-listen", "dashboard-agent-grpc", "runtime-env-agent", "metrics-export")
    services = [f"--{name}-port={first + number}" for number, name in enumerate(names)]
    return [*services, f"--min-worker-port={first + 10}", f"--max-worker-port={first + 199}"]


def agent_port(first: int) -> int:
    """Where a node says whether it is well."""
    return first + 2
