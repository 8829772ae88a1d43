"""PostgreSQL and MLflow's server as a team runs them, from Debian's packages; for tests that stop and start them."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path

import psycopg
import pytest
from mlflow import MlflowClient

from sweeps.store.store import Store
from sweeps.tracking.mlflow import FINGERPRINT, SWEEP
from sweeps.tracking.mlflow.reader import read_runs

PASSWORD = f"planted{secrets.token_hex(8)}"  # nowhere in the code, whose changes a sweep keeps


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def find_program(name: str) -> str:
    """A program of PostgreSQL; skips the test where there is none."""
    found = shutil.which(name) or next((str(path) for path in sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))), None)
    if found is None:
        pytest.skip(f"no {name} on this machine: apt-get install postgresql")
    return found


class Postgres:
    """A server of its own, on loopback, which asks for a password.

    Its folder is outside pytest's, into which a further run of pytest lets no other user.
    """

    def __init__(self) -> None:
        self.folder, self.port = Path(tempfile.mkdtemp(prefix="postgres-")), free_port()
        data, password = self.folder / "data", self.folder / "password"
        data.mkdir(mode=0o700)
        password.write_text(PASSWORD)
        self.user = "postgres" if os.getuid() == 0 else None  # it refuses to run as root
        if self.user:
            subprocess.run(["chown", "-R", self.user, self.folder], check=True)
        options = ["-D", data, "-U", "mlflow", "-A", "scram-sha-256", f"--pwfile={password}", "--no-sync"]
        subprocess.run([find_program("initdb"), *options], check=True, user=self.user, stdout=subprocess.DEVNULL, cwd="/")
        command = [find_program("postgres"), "-D", data, "-p", str(self.port), "-k", self.folder, "-h", "127.0.0.1", "-F"]
        self.process = subprocess.Popen(command, user=self.user, stderr=subprocess.DEVNULL, cwd="/")
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)
        raise AssertionError("PostgreSQL does not start")

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+psycopg://mlflow:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def create(self, database: str) -> str:
        """A further database; gives its URL."""
        with psycopg.connect(self.url().replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {database}")  # type: ignore[arg-type]
        return self.url(database)

    def dump(self, database: str) -> str:
        """Everything in a database as text."""
        url = self.url(database).replace("+psycopg", "")
        return subprocess.check_output([find_program("pg_dump"), url], text=True)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)
        shutil.rmtree(self.folder)


class TrackingServer:
    """`mlflow server` on a database; may be killed and started again at the same address."""

    def __init__(self, folder: Path, database: Postgres) -> None:
        self.database = database
        self.port = free_port()
        self.command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", database.url(), "--workers", "1"]
        self.command += ["--artifacts-destination", str(folder / "artifacts"), "--host", "127.0.0.1", "--port", str(self.port)]
        self.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{self.address}/health", timeout=1)
                return
            except OSError:
                assert self.process.poll() is None
                time.sleep(0.1)
        raise AssertionError("MLflow's server does not start")

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def assert_all_there_once(store: Store, uri: str, sweep: str = "tiny") -> None:
    """The server has each trial, each point and the right statuses."""
    results = store.results()
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(sweep)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    children = [run for run in runs if FINGERPRINT in run.data.tags]
    assert sorted(run.data.tags[FINGERPRINT] for run in children) == sorted(results)
    assert [run.info.status for run in runs if SWEEP in run.data.tags] == ["FINISHED"]
    for run in children:
        result = results[run.data.tags[FINGERPRINT]]
        assert (run.info.status, run.data.tags["outcome"]) == ("FINISHED", "completed")
        for metric in {point["metric"] for point in result["curves"]}:
            told = [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, metric)]
            assert sorted(told) == sorted((p["at"], p["value"]) for p in result["curves"] if p["metric"] == metric)
    found = read_runs(uri, sweep)
    assert found is not None
    counts = Counter((point["fingerprint"], point["metric"], point["at"]) for point in found.curves.to_pylist())
    assert max(counts.values()) == 1 and len(counts) == sum(len(result["curves"]) for result in results.values())
