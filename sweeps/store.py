"""The folder that is the truth about a sweep: paths, lock, rows, results. Neither torch nor ray is needed to read it.

<storage>/<sweep>/
    spec.yaml      as last run
    design.json    fingerprints that a measure spec asks for
    rows.jsonl     every reported row, in the order in which it was judged
    trials/<fingerprint>/{trial.yaml, attempts.jsonl, checkpoint.ckpt, weights.pt, result.json}
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning_modules.files import write_atomically
from rrm.errors import UserError

RESULT = "result.json"
TRIAL = "trial.yaml"


class Store:
    """Files of one sweep. Making one creates nothing; `create` does."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.spec_file = self.path / "spec.yaml"
        self.design_file = self.path / "design.json"
        self.rows_file = self.path / "rows.jsonl"
        self.spool_folder = self.path / "spool"
        self.lock_file = self.path / "lock"

    def create(self) -> None:
        """Make the folder.

        Raises:
            UserError: it cannot be written.
        """
        try:
            (self.path / "trials").mkdir(parents=True, exist_ok=True)
            self.lock_file.touch()
        except OSError as error:
            raise UserError(f"cannot be written: {error.strerror}", str(self.path)) from None

    def trial_folder(self, fingerprint: str) -> Path:
        return self.path / "trials" / fingerprint

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the sweep against other drivers; the system frees the lock when a driver dies.

        Raises:
            UserError: another driver runs this sweep.
        """
        with self.lock_file.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                raise UserError(f"is being run by another driver ({file.read().strip()})", str(self.path)) from None
            file.truncate(0)
            file.write(f"process {os.getpid()} on {os.uname().nodename}\n")
            file.flush()
            yield

    def results(self) -> dict[str, dict[str, Any]]:
        """Every finished trial by fingerprint: its record, with `curves`."""
        files = sorted(self.path.glob(f"trials/*/{RESULT}"))
        return {file.parent.name: _read_json(file) for file in files}

    def finished(self) -> set[str]:
        """Fingerprints with an end marker."""
        return {file.parent.name for file in self.path.glob(f"trials/*/{RESULT}")}

    def write_result(self, fingerprint: str, text: str) -> None:
        """The end marker of a trial, written last and in one step."""
        write_atomically(self.trial_folder(fingerprint) / RESULT, text)

    def rows(self) -> list[dict[str, Any]]:
        """Every reported row, in the order in which it was judged."""
        return list(read_lines(self.rows_file))

    def design(self) -> list[str]:
        """Fingerprints that a measure spec asks for; empty for a search."""
        return _read_json(self.design_file) if self.design_file.exists() else []


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON-lines file; a torn last line, left by a crash, is dropped."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield _parse_json(line, path)


def _read_json(path: Path) -> Any:
    return _parse_json(path.read_bytes(), path)


def _parse_json(text: bytes, path: Path) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"is damaged ({error}): restore or remove it", str(path)) from None


def append_line(path: Path, value: dict[str, Any]) -> None:
    """Add an object to a JSON-lines file in one write; a torn last line is cut off first."""
    data = (json.dumps(value) + "\n").encode()
    with path.open("ab+") as file:
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(end - 1)
            if file.read(1) != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
        file.write(data)
        file.flush()
