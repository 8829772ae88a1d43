"""The container engine that this machine has, and images built with it: docker, or podman, also as root in a sandbox."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import pytest

from tests.conftest import ROOT

DEFAULT_BASE = "docker.io/library/python:3.11-slim-bookworm"
OWN_BASE = "localhost/rrm-debian:bookworm"
INCLUDED = "python3,python3-venv,python3-pip,ca-certificates,procps"
PODMAN_NEEDS = ("iptables", "catatonit")  # for its networks and for --init, which fail late without
# What podman is told where there is no systemd, no cgroup v2, and no right to raise limits. The sysctls: an older netavark's
# bridge changes its address as containers come and go, and who is up would ask it for names in vain for most of a minute.
SANDBOX = """
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
default_sysctls = [
  "net.ipv4.neigh.eth0.base_reachable_time_ms=1000",
  "net.ipv4.neigh.eth0.delay_first_probe_time=1",
  "net.ipv4.neigh.eth0.gc_stale_time=1",
]
log_driver = "k8s-file"
"""


class Engine:
    """Docker or podman."""

    def __init__(self, program: str, folder: Path) -> None:
        self.program, self.folder = program, folder
        self.environment = dict(os.environ)
        if program == "podman" and not Path("/run/systemd/system").exists() and "CONTAINERS_CONF" not in os.environ:
            settings = folder / "containers.conf"
            settings.write_text(SANDBOX)
            self.environment["CONTAINERS_CONF"] = str(settings)

    def __call__(self, *arguments: str, check: bool = True, timeout: float = 120) -> str:
        """Output of a command."""
        ended = self.run(*arguments, timeout=timeout)
        assert ended.returncode == 0 or not check, f"{self.program} {' '.join(arguments)}: {ended.stdout}{ended.stderr}"
        return ended.stdout.strip()

    def run(self, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run([self.program, *arguments], capture_output=True, text=True, env=self.environment, timeout=timeout)

    @property
    def compose(self) -> list[str]:
        """The command that reads compose files: the engine's own, else podman-compose."""
        if self.program == "docker" or self.run("compose", "version").returncode == 0:
            return [self.program, "compose"]
        return [sys.executable, "-m", "podman_compose"]

    def build(self, target: str, tag: str, base: str) -> None:
        """An image of docker/Dockerfile."""
        given = {"BASE_IMAGE": base} | {name: os.environ[name] for name in ("TORCH_INDEX_URL",) if name in os.environ}
        options = ["--format", "docker", "--network", "host", "--jobs", "2"] if self.program == "podman" else []
        if self.program == "podman":  # docker cannot mount into a build
            given, mounts = given | self._own_torch(), self._own_certificates()
            options += [part for source, there in mounts.items() for part in ("--volume", f"{source}:{there}:ro")]
        arguments = [part for name, value in given.items() for part in ("--build-arg", f"{name}={value}")]
        file = str(ROOT / "docker/Dockerfile")
        self("build", *options, *arguments, "--target", target, "-t", tag, "-f", file, str(ROOT), timeout=800)

    def _own_certificates(self) -> Mapping[str, str]:
        """What lets pip through a proxy that has certificates of its own."""
        certificates = os.environ.get("PIP_CERT")
        mounts = {str(self.folder / "torch"): "/torch"} if (self.folder / "torch").exists() else {}
        if certificates is None:
            return mounts
        settings = self.folder / "pip.conf"
        settings.write_text("[global]\ncert = /etc/ssl/certs/ca-certificates.crt\ntimeout = 180\n")
        return mounts | {certificates: "/etc/ssl/certs/ca-certificates.crt", str(settings): "/etc/pip.conf"}

    def _own_torch(self) -> dict[str, str]:
        """Where a wheel of torch lies on this machine's disk, an index of it."""
        found = sorted(Path(os.environ.get("PIP_FIND_LINKS", "/nowhere")).glob("torch-*+cpu-*.whl"))
        if not found or "TORCH_INDEX_URL" in os.environ:
            return {}
        index = self.folder / "torch/torch"
        index.mkdir(parents=True, exist_ok=True)
        shutil.copy(found[-1], index)
        (index / "index.html").write_text(f'<a href="{found[-1].name.replace("+", "%2B")}">{found[-1].name}</a>\n')
        return {"TORCH_INDEX_URL": "file:///torch"}

    def base_image(self) -> str:
        """What the images are built on: BASE_IMAGE, the default where a registry gives it, else a Debian made here."""
        if "BASE_IMAGE" in os.environ:
            return os.environ["BASE_IMAGE"]
        if self.run("image", "inspect", OWN_BASE).returncode == 0:
            return OWN_BASE
        if self.run("image", "inspect", DEFAULT_BASE).returncode == 0 or self.run("pull", DEFAULT_BASE).returncode == 0:
            return DEFAULT_BASE
        if os.getuid() != 0 or shutil.which("debootstrap") is None:
            _give_up("no image registry is reached: apt-get install debootstrap, and run this as root, or set BASE_IMAGE")
        tree, archive = self.folder / "debian", self.folder / "debian.tar"
        command = ["debootstrap", "--variant=minbase", f"--include={INCLUDED}", "bookworm", str(tree)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=600)
        subprocess.run(["tar", "-C", str(tree), "-cf", str(archive), "."], check=True)
        self("import", str(archive), OWN_BASE)
        shutil.rmtree(tree)
        archive.unlink()
        return OWN_BASE

    def inspect(self, container: str) -> dict:
        return json.loads(self("inspect", container))[0]


def find_engine(folder: Path) -> Engine:
    """Docker with its daemon, else podman with what it needs; ends the run where there is neither."""
    for program in ("docker", "podman"):
        if shutil.which(program) and (engine := Engine(program, folder)).run("info").returncode == 0:
            if program == "podman" and (lacking := [tool for tool in PODMAN_NEEDS if shutil.which(tool) is None]):
                _give_up(f"podman needs more for networks and --init: apt-get install {' '.join(lacking)}")
            return engine
    packages = " ".join(("podman", "buildah", "runc", "netavark", "aardvark-dns", *PODMAN_NEEDS))
    _give_up(f"no container engine: docker, or podman (apt-get install {packages})")


def _give_up(reason: str) -> NoReturn:
    """Ends the run with one line: who asked for these tests must not take silence for success."""
    pytest.exit(reason, returncode=2)
