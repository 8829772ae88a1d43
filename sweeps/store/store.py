"""What is the truth about a sweep: rows, results, what trials left. Neither torch nor ray is needed to read it.

<storage>/<sweep>/                          a folder, or a URI such as s3://bucket/sweeps
    identity.json                           which sweep this is, wherever its folder lies
    spec.yaml                               as last run
    design.json                             fingerprints that a measure spec asks for
    rows.jsonl                              every reported row, in the order in which it was judged
    trials/<fingerprint>/trial.yaml         the config
    trials/<fingerprint>/attempts.jsonl     one line each time that a worker began it
    trials/<fingerprint>/checkpoint.ckpt    the last state of training; best.pt, weights.pt: best and last averaged weights
    trials/<fingerprint>/items.parquet      how each test item fared at some depths
    trials/<fingerprint>/result.json        the record, written last: the end marker

What only the driver needs (spool, study, Ray's scratch) lies in the same folder, or, with a URI, in `runs/.driver` or in the folder
that RRM_DRIVER_FOLDER names.
"""

import hashlib
import json
import os
import uuid
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from lightning_modules.atomic_write import write_atomically
from lightning_modules.trial_folder import ATTEMPTS, KILLED, RESULT, TRIAL
from rrm.errors import UserError
from rrm.files import expand_home
from sweeps.store.backend import Backend
from sweeps.store.folder import Folder
from sweeps.store.json_lines import parse_json
from sweeps.store.open_backend import open_backend

IDENTITY, SPEC, DESIGN, ROWS = "identity.json", "spec.yaml", "design.json", "rows.jsonl"
IDENTITY_DIGITS = 12
STUDY = "study.db"  # in the driver's folder
SQLITE = "sqlite:///"  # what the URI of a SQLite file begins with
LOCAL_STORAGE = Path("runs")  # of a driver whose storage is a URI


class Store:
    """Content of one sweep. Making one creates nothing; `create` does."""

    def __init__(self, location: Path | str) -> None:
        self.backend: Backend = open_backend(location)
        self.location = self.backend.location

    def create(self) -> None:
        """Make it.

        Raises:
            UserError: it cannot be written.
        """
        self.backend.prepare()
        self.driver_folder.mkdir(parents=True, exist_ok=True)

    @property
    def driver_folder(self) -> Path:
        """Always a local folder: what only the driver needs, and what can be made anew from the rest."""
        if isinstance(self.backend, Folder):
            return self.backend.path
        name = f"{self.location.rsplit('/', 1)[-1]}-{hashlib.sha256(self.location.encode()).hexdigest()[:8]}"
        return Path(expand_home(os.environ.get("RRM_DRIVER_FOLDER") or LOCAL_STORAGE / ".driver"), name).resolve()

    def locked(self) -> AbstractContextManager[None]:
        """Hold the sweep against other drivers.

        Raises:
            UserError: another driver runs this sweep.
        """
        return self.backend.locked()

    def holder(self) -> str | None:
        """Who runs the sweep now."""
        return self.backend.holder()

    # -- of a sweep -----------------------------------------------------------------------------------------------

    def identity(self) -> str | None:
        """Random hexadecimal digits that stay with the sweep when its folder is moved; None where no driver has run it since."""
        text = self.backend.read(IDENTITY)
        return None if text is None else str(parse_json(text, f"{self.location}/{IDENTITY}")["identity"])

    def identify(self) -> str:
        """The identity; a store without one gets it. Needs the lock."""
        identity = self.identity()
        if identity is None:
            identity = uuid.uuid4().hex[:IDENTITY_DIGITS]
            self.backend.write(IDENTITY, json.dumps({"identity": identity}).encode())
        return identity

    def spec(self) -> str | None:
        """The spec as last run, or None for a sweep that has never been run.

        Raises:
            UserError: it is damaged.
        """
        text = self.backend.read(SPEC)
        try:
            return None if text is None else text.decode()
        except UnicodeDecodeError:
            raise UserError(f"{self.location}/{SPEC}", "is damaged (not text in UTF-8): restore it") from None

    def write_spec(self, text: str) -> None:
        self.backend.write(SPEC, text.encode())

    def design(self) -> list[str]:
        """Fingerprints that a measure spec asks for; empty for a search."""
        text = self.backend.read(DESIGN)
        return [] if text is None else parse_json(text, f"{self.location}/{DESIGN}")

    def write_design(self, fingerprints: list[str]) -> None:
        self.backend.write(DESIGN, json.dumps(fingerprints).encode())

    def rows(self) -> list[dict[str, Any]]:
        """Every reported row, in the order in which it was judged; of a trial that was run anew those of its last run."""
        lines = list(self.backend.lines(ROWS))
        starts = {line["fingerprint"]: number for number, line in enumerate(lines) if line["row"] is None}
        return [line for number, line in enumerate(lines) if number > starts.get(line["fingerprint"], -1)]

    def restart_rows(self, fingerprint: str) -> None:
        """The trial is run anew: its rows so far do not count any more."""
        self.append_row(fingerprint, None)

    def append_row(self, fingerprint: str, row: Any) -> None:
        self.backend.append(ROWS, {"fingerprint": fingerprint, "row": row})

    def results(self) -> dict[str, dict[str, Any]]:
        """Every finished trial by fingerprint: its record, with `curves`."""
        names = [trial_file(fingerprint, RESULT) for fingerprint in sorted(self.finished())]
        texts = self.backend.read_many(names)
        return {
            name.split("/")[1]: parse_json(text, f"{self.location}/{name}")
            for name, text in zip(names, texts, strict=True)
            if text is not None
        }

    def finished(self) -> set[str]:
        """Fingerprints with an end marker."""
        return {name.split("/")[1] for name in self.backend.names("trials") if name.endswith(f"/{RESULT}")}

    def begun(self) -> set[str]:
        """Fingerprints of all trials that were ever handed out."""
        return {name.split("/")[1] for name in self.backend.names("trials") if name.endswith(f"/{TRIAL}")}

    # -- of a trial -----------------------------------------------------------------------------------------------

    def where(self, fingerprint: str) -> str:
        """Where a trial lies, for people."""
        return f"{self.location}/trials/{fingerprint}"

    def trial(self, fingerprint: str) -> str | None:
        """The config of a trial that was handed out."""
        text = self.backend.read(trial_file(fingerprint, TRIAL))
        return None if text is None else text.decode()

    def write_trial(self, fingerprint: str, text: str) -> None:
        self.backend.write(trial_file(fingerprint, TRIAL), text.encode())

    def attempts(self, fingerprint: str) -> list[dict[str, Any]]:
        """A line each time that a worker began the trial."""
        return list(self.backend.lines(trial_file(fingerprint, ATTEMPTS)))

    def append_attempt(self, fingerprint: str, attempt: dict[str, Any]) -> None:
        self.backend.append(trial_file(fingerprint, ATTEMPTS), attempt)
        self.backend.flush()

    def write_result(self, fingerprint: str, text: str) -> None:
        """The end marker of a trial, written last and in one step; the rows that it rests on come first."""
        self.backend.flush()
        self.backend.write(trial_file(fingerprint, RESULT), text.encode())

    def remove_result(self, fingerprint: str) -> None:
        self.backend.remove(trial_file(fingerprint, RESULT))

    def write_killed(self, fingerprint: str, reason: str) -> None:
        """Why a watchdog ends the process of a trial."""
        self.backend.write(trial_file(fingerprint, KILLED), json.dumps({"reason": reason}).encode())

    def why_killed(self, fingerprint: str) -> str | None:
        """What a watchdog left of a trial; None where none struck."""
        name = trial_file(fingerprint, KILLED)
        text = self.backend.read(name)
        return None if text is None else parse_json(text, f"{self.location}/{name}")["reason"]

    def file(self, fingerprint: str, name: str) -> bytes | None:
        """A file that a trial left; None where it is not."""
        return self.backend.read(trial_file(fingerprint, name))

    def fetch(self, fingerprint: str, name: str, folder: Path) -> bool:
        """Copy a file of a trial into a folder; whether it was there."""
        data = self.file(fingerprint, name)
        if data is not None:
            write_atomically(folder / name, data)
        return data is not None

    def keep(self, fingerprint: str, file: Path) -> None:
        """Take a file of a trial into the store, in one step."""
        self.backend.write(trial_file(fingerprint, file.name), file.read_bytes())

    def is_copy_of(self, location: str) -> bool:
        """Whether the store at another location is the original of this one: the same identity in another folder."""
        try:
            identity = self.identity()
            return identity is not None and identity == Store(location).identity() and not _is_same_folder(location, self.location)
        except Exception:  # any kind of storage can be unreachable from this machine
            return False


def trial_file(fingerprint: str, name: str) -> str:
    """Name of a trial's file in the store."""
    return f"trials/{fingerprint}/{name}"


def _is_same_folder(one: str, other: str) -> bool:
    return one == other or (Path(one).exists() and Path(other).exists() and Path(one).samefile(other))
