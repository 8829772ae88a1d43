"""Secrets stay with the driver."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.tracking.secrets import DRIVER_VARIABLES, blank_secrets, hidden_credentials
from tests.conftest import ROOT


def test_processes_started_meanwhile_inherit_none_of_the_driver_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in DRIVER_VARIABLES:
        monkeypatch.setenv(name, "planted")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "for the workers, who read the storage")
    with hidden_credentials():
        seen = subprocess.run(
            [sys.executable, "-c", "import os; print(*os.environ)"], capture_output=True, text=True
        ).stdout.split()
    assert not set(DRIVER_VARIABLES) & set(seen) and "AWS_SECRET_ACCESS_KEY" in seen
    assert all(os.environ[name] == "planted" for name in DRIVER_VARIABLES)


def test_credentials_come_back_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RRM_STUDY_URL", "planted")
    with pytest.raises(ValueError), hidden_credentials():
        raise ValueError
    assert os.environ["RRM_STUDY_URL"] == "planted"


WORKER = """
import os
import ray
from sweeps.tracking.secrets import hidden_credentials

with hidden_credentials():
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
seen = ray.get(ray.remote(lambda: dict(os.environ)).remote())
print("planted in:", [name for name, value in seen.items() if "planted-password" in value])
"""


@pytest.mark.ray
def test_a_worker_of_a_real_ray_has_no_credentials(tmp_path: Path) -> None:
    secrets = {
        "MLFLOW_TRACKING_PASSWORD": "planted-password",
        "RRM_STUDY_URL": "postgresql+psycopg://me:planted-password@db/studies",
        "PGPASSWORD": "planted-password",
    }
    environment = {**os.environ, **secrets, "RAY_AUTH_MODE": "token", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", WORKER], env=environment, capture_output=True, text=True, timeout=120)
    assert ended.stdout.endswith("planted in: []\n"), ended.stdout + ended.stderr


@pytest.mark.parametrize("text", ["postgresql+psycopg://me:hunter22@db/x", "http://me:hunter22@host:5000", "password=hunter22"])
def test_a_password_is_blanked_in_what_is_said(text: str) -> None:
    assert "hunter22" not in blank_secrets(f"could not connect to {text}")
