"""Real processes that hang or eat memory, and what is known of them afterwards."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sweeps.store.store import Store
from sweeps.worker.watchdog import EXIT_CODE, Watchdog, kill_seconds

HANG = "while True: sum(range(10**6))"
EAT = "kept = []\nwhile True: kept.append(bytearray(20_000_000)); time.sleep(0.01)"


def run(folder: Path, limits: str, work: str) -> subprocess.CompletedProcess[bytes]:
    body = "\n".join(f"    {line}" for line in work.splitlines())
    code = f"""
import time
from sweeps.store.store import Store
from sweeps.worker.watchdog import Watchdog
with Watchdog(lambda reason: Store({str(folder)!r}).write_killed("trial", reason), {limits}):
{body}
"""
    return subprocess.run([sys.executable, "-c", code], timeout=60)


def test_a_process_that_hangs_ends_and_leaves_its_reason(tmp_path: Path) -> None:
    started = time.monotonic()
    assert run(tmp_path, "minutes=0.02, memory_bytes=None", HANG).returncode == EXIT_CODE
    assert time.monotonic() - started < 30
    assert Store(tmp_path).why_killed("trial") == "took longer than resources.trial_timeout_minutes = 0.02, and reported nothing"


def test_a_process_that_eats_memory_ends_and_leaves_its_reason(tmp_path: Path) -> None:
    assert run(tmp_path, "minutes=None, memory_bytes=0.3e9", EAT).returncode == EXIT_CODE
    reason = Store(tmp_path).why_killed("trial")
    assert reason is not None and re.fullmatch(r"used \d\.\d\d GB of memory, more than resources.memory_gb = 0.3", reason)


def test_a_process_within_its_limits_is_left_alone(tmp_path: Path) -> None:
    assert run(tmp_path, "minutes=1, memory_bytes=1e9", "time.sleep(1.2)").returncode == 0
    assert Store(tmp_path).why_killed("trial") is None


@pytest.mark.parametrize(("minutes", "seconds"), [(0.1, 12), (10, 660), (None, float("inf"))])
def test_a_trial_may_still_reach_its_next_report(minutes: float | None, seconds: float) -> None:
    assert kill_seconds(minutes) == pytest.approx(seconds)


def test_without_limits_nobody_watches() -> None:
    with Watchdog(lambda reason: None, None, None) as watchdog:
        assert not watchdog._thread.is_alive()
