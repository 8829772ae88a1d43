"""The stack of docker/compose.yaml under a name, ports and secrets of its own, and a sweep on it."""

import json
import os
import secrets
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.conftest import ROOT
from tests.docker.engine import Engine
from tests.sweeps.servers import free_port

SECRETS = ("RAY_AUTH_TOKEN", "MLFLOW_PASSWORD", "MLFLOW_SECRET_KEY", "MLFLOW_DB_PASSWORD", "STUDIES_DB_PASSWORD")
# How a sweep stands, read where it lies.
PROBE = """
import json, sys
from sweeps.store.store import Store
store, steps = Store(sys.argv[1]), {}
for row in store.rows():
    steps.setdefault(row["fingerprint"], []).append(row["row"]["step"])
print(json.dumps({
    "steps": steps,
    "attempts": {name: store.attempts(name) for name in store.begun()},
    "finished": sorted(store.finished()),
}))
"""


class Stack:
    """A project of compose."""

    def __init__(self, engine: Engine, folder: Path, tag: str) -> None:
        self.engine, self.folder, self.tag = engine, folder, tag
        self.name = f"rrmtest{os.getpid()}"
        self.secrets = {name: secrets.token_hex(32) for name in SECRETS}
        self.ports = {name: free_port() for name in ("MLFLOW_PORT", "DASHBOARD_PORT")}
        self.specs = folder / "specs"
        self.specs.mkdir()
        self.env_file = folder / "env"
        settings = self.secrets | self.ports | {"TAG": tag, "TARGET": "cpu", "MLFLOW_USER": "rrm", "SPECS": str(self.specs)}
        self.env_file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        # What the shell has would win over the file.
        self.environment = {name: value for name, value in engine.environment.items() if name not in settings}

    def compose(self, *arguments: str, file: str = "compose.yaml", project: str = "", timeout: float = 240) -> str:
        """Output of a compose command, stderr included."""
        ended = subprocess.run(
            self._command(file, project, *arguments),
            env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stdout
        return ended.stdout

    def start(self, *arguments: str, log: Path) -> subprocess.Popen[bytes]:
        """A compose command in the background."""
        with log.open("wb") as output:
            return subprocess.Popen(
                self._command("compose.yaml", "", *arguments),
                env=self.environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def _command(self, file: str, project: str, *arguments: str) -> list[str]:
        places = ["--env-file", str(self.env_file), "-p", project or self.name, "-f", str(ROOT / "docker" / file)]
        return [*self.engine.compose, *places, *arguments]

    def containers(self, service: str, project: str = "") -> list[str]:
        """Ids of a service's containers, running or not, oldest first."""
        labels = {"com.docker.compose.project": project or self.name, "com.docker.compose.service": service}
        filters = [part for name, value in labels.items() for part in ("--filter", f"label={name}={value}")]
        return self.engine("ps", "--all", "--quiet", "--no-trunc", *filters).split()[::-1]

    def container(self, service: str) -> str:
        return self.containers(service)[0]

    def address(self, container: str) -> str:
        """On the stack's network."""
        (network,) = self.engine.inspect(container)["NetworkSettings"]["Networks"].values()
        return str(network["IPAddress"])

    def gateway(self, container: str) -> str:
        """This machine on the stack's network."""
        (network,) = self.engine.inspect(container)["NetworkSettings"]["Networks"].values()
        return str(network["Gateway"])

    @property
    def network(self) -> str:
        (name,) = self.engine.inspect(self.container("head"))["NetworkSettings"]["Networks"]
        return str(name)

    def wait(self, what: Callable[[], object], seconds: float, why: Callable[[], str]) -> float:
        """Seconds until it is so."""
        started = time.monotonic()
        while not what():
            assert time.monotonic() - started < seconds, why()
            time.sleep(2)  # to ask costs a process in a container, beside what is waited for
        return time.monotonic() - started

    def well(self) -> bool:
        """Whether every container's health check says so; podman without systemd never runs them by itself."""
        services = ("mlflow", "head", "worker")
        return all(
            self.engine.run("exec", container, "start", "health").returncode == 0
            for service in services for container in self.containers(service)
        )  # fmt: skip

    def logs(self) -> str:
        """The last lines of every container."""
        services = ("postgres", "mlflow", "head", "worker")
        ids = [(service, container) for service in services for container in self.containers(service)]
        told = {service: self.engine.run("logs", "--tail", "15", container) for service, container in ids}
        return "\n".join(f"== {service}\n{ended.stdout}{ended.stderr}" for service, ended in told.items())

    def remove(self, *projects: str) -> None:
        """Containers, networks and volumes, also those that compose has lost sight of."""
        podman_s_own = ["--time=0", "--depend"] if self.engine.program == "podman" else []
        for project in (*projects, self.name):
            label = f"label=com.docker.compose.project={project}"
            for _ in range(5):  # one may be on its way out, and hold others
                containers = self.engine("ps", "--all", "--quiet", "--filter", label).split()
                if not containers:
                    break
                self.engine("rm", "--force", "--volumes", *podman_s_own, *containers, check=False)
            for kind in ("network", "volume"):
                for name in self.engine(kind, "ls", "--quiet", "--filter", label).split():
                    self.engine(kind, "rm", name)


class Sweep:
    """A sweep of a spec that lies in the stack's folder, followed by `submit`."""

    def __init__(self, stack: Stack, name: str) -> None:
        self.stack, self.name, self.log = stack, name, stack.folder / f"{name}.log"
        self.begun = time.monotonic()
        self.submit()

    def submit(self) -> None:
        self.following = self.stack.start("--profile", "submit", "run", "--rm", "submit", f"/specs/{self.name}.yaml", log=self.log)

    def at_work(self, since: float = 0.0) -> set[str]:
        """Addresses of the nodes on which a trial that began there after a time has saved something."""
        assert self.following.poll() is None, self.why()
        head = self.stack.container("head")
        seen = json.loads(self.stack.engine("exec", head, "python", "-c", PROBE, f"/store/{self.name}"))
        live = {name: tries[-1] for name, tries in seen["attempts"].items() if tries and name not in seen["finished"]}
        return {
            last["address"] for name, last in live.items()
            # What the second row rests on was saved with the first.
            if last["time"] > since and sum(step > last["from_checkpoint"] for step in seen["steps"].get(name, [])) >= 2
        }  # fmt: skip

    def why(self) -> str:
        """The last lines of whom it may have gone wrong with."""
        return self.log.read_text()[-4000:] + self.stack.logs()

    def tell(self, event: str) -> None:
        print(f"\n{time.monotonic() - self.begun:.0f} s: {event}", end="")
