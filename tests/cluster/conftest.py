import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.hosts import NamespaceHost, make_hosts, remove_network
from tests.cluster.three_hosts import HEALTH, NAMES, Cluster
from tests.conftest import ROOT


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
