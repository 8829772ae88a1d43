"""A head and two nodes with one processor each, and a sweep that runs on them."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from sweeps.store.store import Store
from tests.cluster.hosts import Host
from tests.sweeps.conftest import command

NAMES = ["rrm-head", "rrm-left", "rrm-right"]
PORT = 6379
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
        rows = self.store.rows()
        for fingerprint in self.store.begun() - self.store.finished():
            attempts = self.store.attempts(fingerprint)
            if attempts and attempts[-1]["address"] == host.address:
                steps = [row["row"]["step"] for row in rows if row["fingerprint"] == fingerprint]
                if sum(step > attempts[-1]["from_checkpoint"] for step in steps) > 1:
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
