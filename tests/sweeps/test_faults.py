"""Trials that fail in every way that a trial can, on a real Ray."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.store import Store
from tests.conftest import ROOT
from tests.sweeps.conftest import command, measure_sections

FAULTS = Path(__file__).parent / "faults"


@pytest.mark.ray
@pytest.mark.timeout(280)
def test_every_failure_has_its_reason_and_the_rest_is_unharmed(write_spec: Callable, tmp_path: Path) -> None:
    sections = measure_sections()
    sections["measure"]["vary"] = {"model.hidden_size": [16, 24, 32, 40, 48, 56, 64]}
    sections["resources"] = {"trial_timeout_minutes": 0.15, "memory_gb": 2.0, "max_retries": 1}
    spec = str(write_spec(sections))
    environment = {**os.environ, "PYTHONPATH": f"{FAULTS}{os.pathsep}{ROOT}"}
    ended = subprocess.run(command("run", spec), cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=270)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    results = {r["model.hidden_size"]: r for r in Store(tmp_path / "runs/tiny").results().values()}
    outcomes = {width: record["outcome"] for width, record in results.items()}
    assert outcomes == {16: "completed", 64: "completed", **dict.fromkeys((24, 32, 40, 48, 56), "failed")}
    reasons = {width: record["reason"] for width, record in results.items() if "reason" in record}
    assert reasons[24] == "RuntimeError: this trial raises (see error.txt)"
    assert reasons[32] == "test/nll is nan"
    assert "its process was lost" in reasons[40] and results[40]["retryable"]
    assert "took longer than resources.trial_timeout_minutes = 0.15" in reasons[48]
    assert "more than resources.memory_gb = 2" in reasons[56]
    for reason in reasons.values():
        assert reason[:20] in ended.stdout
    again = subprocess.run(command("run", spec), cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert again.returncode == 1 and "nothing to run" in again.stdout
