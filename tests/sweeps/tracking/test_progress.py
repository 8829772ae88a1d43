"""The progress of a server, as a file."""

from pathlib import Path

import pytest

from sweeps.tracking.progress import Aside, Progress


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
    assert Progress(tmp_path, "http://host").describe_aside() == ["dataset of 2 runs, view of 1 run: HTTP 404 a"]
