"""Trials that fail in every way that a trial can, on a real Ray."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sweeps.store.store import Store
from tests.conftest import ROOT
from tests.sweeps.conftest import command, measure_sections

FAULTS = Path(__file__).parent / "faults"
MORE_BYTES = 5e9  # than is used when the test begins: enough for Ray and its warm workers


@pytest.mark.ray
@pytest.mark.more
@pytest.mark.timeout(280)
def test_every_failure_has_its_reason_and_the_rest_is_unharmed(write_spec: Callable, tmp_path: Path) -> None:
    sections = measure_sections()
    sections["measure"]["vary"] = {"model.hidden_size": [16, 24, 32, 40, 48, 56, 64, 72]}
    sections["resources"] = {"trial_timeout_minutes": 0.15, "memory_gb": 2.0, "max_retries": 1}
    spec = str(write_spec(sections))
    environment = {**os.environ, "PYTHONPATH": f"{FAULTS}{os.pathsep}{ROOT}"}
    ended = subprocess.run(command("run", spec), cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=270)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    results = {r["model.hidden_size"]: r for r in Store(tmp_path / "runs/tiny").results().values()}
    outcomes = {width: record["outcome"] for width, record in results.items()}
    assert outcomes == {16: "completed", 64: "completed", **dict.fromkeys((24, 32, 40, 48, 56, 72), "failed")}
    reasons = {width: record["reason"] for width, record in results.items() if "reason" in record}
    assert reasons[24] == "RuntimeError: this trial raises (see error.txt)"
    assert reasons[32] == "test/nll is nan"
    assert "its process was lost" in reasons[40] and results[40]["retryable"]
    assert "took longer than resources.trial_timeout_minutes = 0.15" in reasons[48]
    assert "more than resources.memory_gb = 2" in reasons[56]
    assert "File too large" in reasons[72] and results[72]["retryable"]
    for reason in reasons.values():
        assert reason[:20] in ended.stdout
    store, full = Store(tmp_path / "runs/tiny"), results[72]["fingerprint"]
    assert torch.load(store.driver_folder / "trials" / full / "checkpoint.ckpt", weights_only=True)["global_step"] == 4
    again = subprocess.run(command("run", spec), cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert again.returncode == 1, again.stdout + again.stderr
    results = {r["model.hidden_size"]: r for r in store.results().values()}
    assert results[72]["outcome"] == "completed" and store.attempts(full)[-1]["from_checkpoint"] == 4  # there is room again
    assert [r["outcome"] for r in results.values()].count("failed") == 5


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_trial_that_rays_memory_monitor_kills_fails_alone(write_spec: Callable, tmp_path: Path) -> None:
    """It has no limit of its own, so Ray kills its process when the machine runs out of memory, which ends Tune as a whole."""
    sections = measure_sections()
    sections["measure"]["vary"] = {"model.hidden_size": [16, 56, 64, 80]}
    sections["resources"] = {"max_retries": 1}
    spec = str(write_spec(sections))
    total, available = read_memory_bytes()
    environment = {
        **os.environ,
        "PYTHONPATH": f"{FAULTS}{os.pathsep}{ROOT}",
        "RAY_memory_usage_threshold": f"{(total - available + MORE_BYTES) / total:.3f}",
        "RAY_memory_monitor_refresh_ms": "100",
    }
    ended = subprocess.run(command("run", spec), cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=570)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    results = {r["model.hidden_size"]: r for r in Store(tmp_path / "runs/tiny").results().values()}
    outcomes = {width: record["outcome"] for width, record in results.items()}
    assert outcomes == {16: "completed", 56: "failed", 64: "completed", 80: "completed"}
    assert "killed due to the node running low on memory" in results[56]["reason"]
    print(f"\nkilled by Ray's memory monitor: {results[56]['reason']}")


def read_memory_bytes() -> tuple[int, int]:
    """Total and available memory of this machine."""
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    total, available = (1024 * int(fields[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
    return total, available
