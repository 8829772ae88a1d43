"""Hosts of a small Ray cluster on one machine, which can be killed and cut off.

Where the system allows it (root, and `ip netns`), each host is a network namespace with an address of its own on a bridge, and is
cut off by taking its link down. Elsewhere a host is a raylet on an address of the loopback, and SIGSTOP cuts it off.
"""

import os
import signal
import subprocess
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path

SESSIONS = Path("/tmp/ray")  # where Ray keeps its sockets, unless told otherwise


class Host(ABC):
    """A host by its name and address, and what was started on it."""

    def __init__(self, name: str, address: str, environment: dict[str, str]) -> None:
        self.name, self.address, self.environment = name, address, environment
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, *command: str, log: Path, cwd: Path | None = None) -> subprocess.Popen[bytes]:
        """Start a command on this host."""
        with log.open("ab") as output:
            process = subprocess.Popen(
                [*self.prefix(), *command], cwd=cwd, env=self.environment, stdout=output, stderr=subprocess.STDOUT
            )
        self.started.append(process)
        return process

    def kill(self) -> None:
        """As by a power failure: every process at once."""
        while self.processes():
            self._signal(signal.SIGKILL)
            for process in self.started:
                process.wait()

    def _signal(self, number: signal.Signals) -> None:
        for process in self.processes():
            with suppress(ProcessLookupError):
                os.kill(process, number)

    @abstractmethod
    def prefix(self) -> list[str]:
        """What runs a command on this host."""

    @abstractmethod
    def processes(self) -> list[int]:
        """What runs on this host now."""

    @abstractmethod
    def cut(self) -> None:
        """No packet reaches this host or leaves it."""

    @abstractmethod
    def repair(self) -> None:
        """Undo `cut`."""


class NamespaceHost(Host):
    """A network namespace, with its own folder of Ray sessions: raylets that share one collide on the names of their sockets."""

    def prefix(self) -> list[str]:
        SESSIONS.mkdir(exist_ok=True)
        own = SESSIONS.parent / f"ray-{self.name}"
        own.mkdir(exist_ok=True)
        return ["ip", "netns", "exec", self.name, "sh", "-c", f'mount --bind {own} {SESSIONS} && exec "$0" "$@"']

    def processes(self) -> list[int]:
        return [int(line) for line in _run("ip", "netns", "pids", self.name).split()]

    def cut(self) -> None:
        _run("ip", "link", "set", f"{self.name}-link", "down")

    def repair(self) -> None:
        _run("ip", "link", "set", f"{self.name}-link", "up")


class LoopbackHost(Host):
    """Processes that listen on an address of their own."""

    def prefix(self) -> list[str]:
        return []

    def processes(self) -> list[int]:
        children: dict[int, list[int]] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                state, parent = stat.read_text().rpartition(")")[2].split()[:2]
                if state != "Z":
                    children.setdefault(int(parent), []).append(int(stat.parent.name))
        found = [process.pid for process in self.started if process.poll() is None]
        for parent in found:  # grows while it is walked
            found += children.get(parent, [])
        return found

    def cut(self) -> None:
        self._signal(signal.SIGSTOP)

    def repair(self) -> None:
        self._signal(signal.SIGCONT)


BRIDGE, NETWORK = "rrm-bridge", "10.79.0"


def make_hosts(names: list[str], environment: dict[str, str]) -> list[Host]:
    """Namespaces where they are allowed, else addresses of the loopback."""
    try:
        remove_network(names)
        _run("ip", "link", "add", BRIDGE, "type", "bridge")
    except (OSError, subprocess.CalledProcessError):
        return [LoopbackHost(name, f"127.0.0.{number}", environment) for number, name in enumerate(names, 2)]
    _run("ip", "link", "set", BRIDGE, "up")
    hosts: list[Host] = []
    for number, name in enumerate(names, 2):
        address = f"{NETWORK}.{number}"
        _run("ip", "netns", "add", name)
        _run("ip", "link", "add", f"{name}-link", "type", "veth", "peer", "name", "eth0", "netns", name)
        _run("ip", "link", "set", f"{name}-link", "master", BRIDGE, "up")
        for command in (f"addr add {address}/24 dev eth0", "link set eth0 up", "link set lo up"):
            _run("ip", "-n", name, *command.split())
        hosts.append(NamespaceHost(name, address, environment))
    return hosts


def remove_network(names: list[str]) -> None:
    """What `make_hosts` made, here or in a session that was killed."""
    for name in names:
        subprocess.run(["ip", "netns", "del", name], capture_output=True)
    subprocess.run(["ip", "link", "del", BRIDGE], capture_output=True)


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
