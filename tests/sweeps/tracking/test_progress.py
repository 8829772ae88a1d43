"""The progress of a server, as a file."""

import sys
import threading
from pathlib import Path

import pytest

from sweeps.tracking.progress import Aside, Progress, describe_tracking


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("http://host:5000", "http://host:5000/", True),
        ("http://me:old@host", "http://me:new@host", True),
        ("postgresql://me@host/db?password=old", "postgresql://host/db", True),
        ("http://host:5000", "http://host:5001", False),
        ("sqlite:////a/mlflow.db", "sqlite:////b/mlflow.db", False),
    ],
)
def test_a_server_is_known_by_its_address_without_credentials(tmp_path: Path, one: str, other: str, is_same: bool) -> None:
    first, second = Progress(tmp_path, one), Progress(tmp_path, other)
    assert (first.file == second.file) == is_same
    first.write()
    assert "old" not in first.file.read_text()


def test_a_part_that_was_set_aside_is_described_and_survives(tmp_path: Path) -> None:
    progress = Progress(tmp_path, "http://host")
    for fingerprint in ("a", "b"):
        progress.set_aside(Aside(fingerprint, "dataset", f"HTTP 404 {fingerprint}"))
    progress.set_aside(Aside("", "view", "HTTP 404 a"))
    progress.write()
    assert Progress(tmp_path, "http://host").describe_aside(transient=False) == ["dataset of 2 runs, view of 1 run: HTTP 404 a"]


def test_a_part_that_waits_for_a_busy_server_is_not_described_as_refused(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text("")
    progress = Progress(tmp_path / "servers", "http://host")
    progress.set_aside(Aside("a", "dataset", "HTTP 503 Service Unavailable", transient=True))
    progress.write()
    assert progress.describe_aside(transient=False) == []
    assert describe_tracking(tmp_path) == ["http://host has not received dataset of 1 run: HTTP 503 Service Unavailable"]


def test_parts_are_described_while_a_thread_changes_them(tmp_path: Path) -> None:
    progress, is_over = Progress(tmp_path, "http://host"), threading.Event()

    def change() -> None:
        while not is_over.is_set():
            for number in range(50):
                progress.set_aside(Aside(str(number), "dataset", "HTTP 404"))
            progress.aside.clear()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=change)
    thread.start()
    try:
        described = [line for _ in range(2000) for line in progress.describe_aside(transient=False)]
    finally:
        is_over.set()
        thread.join()
        sys.setswitchinterval(interval)
    assert all("dataset of" in line and "HTTP 404" in line for line in described)
