"""A head and two nodes: one is killed, the other is cut off for a minute. `make test-slow`"""

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sweeps.store.store import Store
from sweeps.tracking.mlflow.reader import read_runs
from tests.cluster.hosts import Host, NamespaceHost, make_hosts, remove_network
from tests.conftest import ROOT
from tests.sweeps.conftest import command, measure_sections

NAMES = ["rrm-head", "rrm-left", "rrm-right"]
PORT = 6379
CUT_SECONDS = 60.0
VALIDATIONS, STEPS = 60, 6000
# With Ray's defaults a node that is cut off counts as lost after more than a minute.
HEALTH = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}
RAY = str(Path(sys.executable).with_name("ray"))


class Cluster:
    """Three hosts with one processor each, and a sweep that runs on them, driven from the head."""

    def __init__(self, hosts: list[Host], folder: Path) -> None:
        self.head, self.left, self.right = hosts
        self.folder, self.log = folder, folder / "driver.log"
        self.store = Store(folder / "runs/tiny")
        self._start_node(self.head, "--head", f"--port={PORT}", "--include-dashboard=false", "--disable-usage-stats")
        for host in (self.left, self.right):
            self.join(host)

    def join(self, host: Host) -> None:
        """Start a node that joins the head."""
        self._start_node(host, f"--address={self.head.address}:{PORT}")

    def _start_node(self, host: Host, *options: str) -> None:
        host.start(
            RAY,
            "start",
            "--block",
            f"--node-ip-address={host.address}",
            "--num-cpus=1",
            *options,
            log=self.folder / f"{host.name}.log",
        )
        time.sleep(8)  # raylets that start together on one machine collide

    def drive(self, spec: Path) -> None:
        self.driver = self.head.start(
            *command("run", str(spec), "--address", f"{self.head.address}:{PORT}"), cwd=self.folder, log=self.log
        )

    def running_on(self, host: Host) -> str | None:
        """The trial that is at work on a host and has saved something since it began there."""
        rows = Counter(row["fingerprint"] for row in self.store.rows())
        for fingerprint in self.store.begun() - self.store.finished():
            attempts = self.store.attempts(fingerprint)
            if attempts and attempts[-1]["address"] == host.address:
                saved_before = attempts[-1]["from_checkpoint"] * VALIDATIONS // STEPS
                if rows[fingerprint] > saved_before + 1:
                    return fingerprint
        return None

    def wait(self, what: Callable[[], object], seconds: float) -> float:
        """Seconds until it is so."""
        started = time.monotonic()
        while not what():
            assert time.monotonic() - started < seconds and self.driver.poll() is None, self.log.read_text()
            time.sleep(0.1)
        return time.monotonic() - started

    def losses(self) -> int:
        """How often the driver has noticed that a trial's process is gone."""
        return self.log.read_text().count("goes on from its checkpoint: its process was lost")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    token = tmp_path / "token"
    token.write_text("0123456789abcdef" * 4)
    environment = {**os.environ, **HEALTH, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "PYTHONPATH": str(ROOT)}
    hosts = make_hosts(NAMES, environment)
    try:
        yield Cluster(hosts, tmp_path)
    finally:
        for host in hosts:
            host.repair()
            host.kill()
        if isinstance(hosts[0], NamespaceHost):
            remove_network(NAMES)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_trials_of_lost_nodes_go_on_elsewhere_from_their_checkpoints(cluster: Cluster, write_spec: Callable) -> None:
    sections = measure_sections(fit__budget__amount=STEPS, eval__validations=VALIDATIONS)
    sections["measure"]["vary"]["model.hidden_size"] = [16, 24, 32]
    cluster.drive(write_spec(sections))
    cluster.wait(lambda: all(map(cluster.running_on, (cluster.head, cluster.left, cluster.right))), 180)

    on_left = cluster.running_on(cluster.left)
    noticed = cluster.losses()
    cluster.left.kill()
    print(f"\nkilled node: its loss was noticed after {cluster.wait(lambda: cluster.losses() > noticed, 60):.1f} s")

    cluster.wait(lambda: cluster.running_on(cluster.right), 60)
    on_right = cluster.running_on(cluster.right)
    noticed = cluster.losses()
    cluster.right.cut()
    cut_at = time.monotonic()
    print(f"node cut off: its loss was noticed after {cluster.wait(lambda: cluster.losses() > noticed, 120):.1f} s")
    time.sleep(max(0.0, CUT_SECONDS - (time.monotonic() - cut_at)))
    cluster.right.repair()

    cluster.driver.wait(600)
    assert cluster.driver.returncode == 0, cluster.log.read_text()
    check_complete(cluster.store, {on_left, on_right}, cluster.folder)


def check_complete(store: Store, lost: set[str | None], folder: Path) -> None:
    """Every trial of the spec, each step once, and those of the lost nodes from their checkpoints and without blame."""
    results = store.results()
    assert len(results) == 6 and {record["outcome"] for record in results.values()} == {"completed"}
    assert {record["steps"] for record in results.values()} == {STEPS}
    rows = Counter((row["fingerprint"], row["row"]["step"]) for row in store.rows())
    assert len(rows) == 6 * VALIDATIONS and max(rows.values()) == 1
    for fingerprint in results:
        attempts = store.attempts(fingerprint)
        assert len(attempts) == (2 if fingerprint in lost else 1), attempts
        if fingerprint in lost:
            assert attempts[1]["from_checkpoint"] > 0 and attempts[1]["losses"] == 0
            assert attempts[1]["address"] != attempts[0]["address"]
    found = read_runs(f"sqlite:///{folder / 'runs/mlflow.db'}", "tiny")
    assert found is not None and len(found.records) == 6
    points = Counter((point["fingerprint"], point["metric"], point["at"]) for point in found.curves.to_pylist())
    assert max(points.values()) == 1
