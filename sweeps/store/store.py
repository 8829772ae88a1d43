"""What is the truth about a sweep: rows, results, what trials left. Neither torch nor ray is needed to read it.

<storage>/<sweep>/                          a folder, or a URI such as s3://bucket/sweeps
    identity.json                           which sweep this is, wherever its folder lies
    spec.yaml                               as last run
    imported.json                           trials that came from an exported sweep, without weights
    design.json                             fingerprints that a measure spec asks for
    plugins/<sha256>/<name>                 files with tasks and models of the user's own
    rows.jsonl                              every reported row, in the order in which it was judged
    trials/<fingerprint>/trial.yaml         the config
    trials/<fingerprint>/attempts.jsonl     one line each time that a worker began it
    trials/<fingerprint>/checkpoint.ckpt    the last state of training; best.pt, weights.pt: best and last averaged weights
    trials/<fingerprint>/items.parquet      how each test item fared at some depths
    trials/<fingerprint>/thinking.npz       answers to a few test items after each supervision step
    trials/<fingerprint>/killed.json        why a watchdog ended the process of the trial
    trials/<fingerprint>/result.json        the record, written last: the end marker

The driver's files (driver.log, spool, study, Ray's scratch) lie in the same folder, or, with a URI, in `runs/.driver` or in the
folder that RRM_DRIVER_FOLDER names.
"""

import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from pydantic import BaseModel

from lightning_modules.atomic_write import write_atomically
from lightning_modules.record import FitResult, Record, Row
from lightning_modules.trial_folder import ATTEMPTS, KILLED, RESULT, TRIAL
from rrm.errors import UserError, require_content
from rrm.files import expand_home
from rrm.format_version import STORE_FORMAT, check_format
from sweeps.store.backend import Backend
from sweeps.store.contents import AttemptPart, DesignFile, IdentityFile, ImportedFile, KilledFile, RowLine
from sweeps.store.folder import Folder
from sweeps.store.json_lines import parse_json
from sweeps.store.open_backend import open_backend

IDENTITY, SPEC, DESIGN, ROWS, IMPORTED = "identity.json", "spec.yaml", "design.json", "rows.jsonl", "imported.json"
FORMAT_LINE = re.compile(r"^format:[ ]*(.*)\n?", re.MULTILINE)  # of spec.yaml; keys of its sections are indented
REQUIRED = ("fingerprint", "outcome", "params")  # columns that every record has
IDENTITY_DIGITS = 12
STUDY = "study.db"  # in the driver's folder
SQLITE = "sqlite:///"  # what the URI of a SQLite file begins with
LOCAL_STORAGE = Path("runs")  # holds the driver's files of a sweep whose storage is a URI


class StoredRow(TypedDict):
    """A line of rows.jsonl."""

    fingerprint: str
    row: Row


class Imported(TypedDict):
    """The origin of a store that was made by an import."""

    sweep: str  # name of the exported sweep
    identity: str | None  # of its store
    trials: list[str]  # fingerprints of the trials that were imported


class AttemptLine(TypedDict):
    """A line of attempts.jsonl: a worker begins a trial, or a driver notes how often the trial was lost."""

    time: float  # seconds since 1970
    session: str  # random name of the driver's process; empty in a note
    losses: int  # attempts so far whose process died while its node and its driver lived
    host: NotRequired[str]
    address: NotRequired[str]
    process: NotRequired[int]
    node: NotRequired[str]  # Ray's id of the node
    from_checkpoint: NotRequired[int]  # optimizer steps of the checkpoint from which the attempt continues


class Store:
    """The files of one sweep. `Store(...)` writes nothing; `create` makes the storage."""

    def __init__(self, location: Path | str) -> None:
        self.backend: Backend = open_backend(location)
        self.location = self.backend.location

    def create(self) -> None:
        """Make the storage and the driver's folder.

        Raises:
            UserError: the storage cannot be written.
        """
        self.backend.prepare()
        self.driver_folder.mkdir(parents=True, exist_ok=True)

    @property
    def driver_folder(self) -> Path:
        """The local folder of the driver's files. Those of them that results depend on can be made again from the store."""
        if isinstance(self.backend, Folder):
            return self.backend.path
        name = f"{self.location.rsplit('/', 1)[-1]}-{hashlib.sha256(self.location.encode()).hexdigest()[:8]}"
        return Path(expand_home(os.environ.get("RRM_DRIVER_FOLDER") or LOCAL_STORAGE / ".driver"), name).resolve()

    def locked(self) -> AbstractContextManager[None]:
        """Lock the sweep against other drivers.

        Raises:
            UserError: another driver runs this sweep.
        """
        return self.backend.locked()

    def holder(self) -> str | None:
        """The driver that runs the sweep now; None where no driver runs it."""
        return self.backend.holder()

    # -- of a sweep -----------------------------------------------------------------------------------------------

    def identity(self) -> str | None:
        """Random hexadecimal digits that stay with the sweep when its folder is moved; None before its first driver."""
        text = self.backend.read(IDENTITY)
        return None if text is None else str(self._content(IDENTITY, text, IdentityFile)["identity"])

    def identify(self) -> str:
        """The identity; a store without one gets a new one. Needs the lock."""
        identity = self.identity()
        if identity is None:
            identity = uuid.uuid4().hex[:IDENTITY_DIGITS]
            self.backend.write(IDENTITY, json.dumps({"identity": identity}).encode())
        return identity

    def spec(self) -> str | None:
        """The spec as last run without its line `format`, or None for a sweep that has never been run.

        Raises:
            UserError: it is damaged, or a later version of the program wrote this store.
        """
        data, where = self.backend.read(SPEC), f"{self.location}/{SPEC}"
        if data is None:
            return None
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise UserError(where, "is damaged (not text in UTF-8): restore it") from None
        stated = FORMAT_LINE.search(text)
        if stated is not None:
            version = stated[1].strip()
            check_format(int(version) if version.isdecimal() else version, STORE_FORMAT, where)
        return FORMAT_LINE.sub("", text)

    def write_spec(self, text: str) -> None:
        self.backend.write(SPEC, f"format: {STORE_FORMAT}\n{text}".encode())

    def design(self) -> list[str]:
        """Fingerprints that a measure spec asks for; empty for a search."""
        text = self.backend.read(DESIGN)
        return [] if text is None else self._content(DESIGN, text, DesignFile)

    def write_design(self, fingerprints: list[str]) -> None:
        self.backend.write(DESIGN, json.dumps(fingerprints).encode())

    def imported(self) -> set[str]:
        """Fingerprints of the trials that were imported, without weights."""
        text = self.backend.read(IMPORTED)
        return set() if text is None else set(self._content(IMPORTED, text, ImportedFile)["trials"])

    def write_imported(self, origin: Imported) -> None:
        self.backend.write(IMPORTED, json.dumps(origin).encode())

    def rows(self) -> list[StoredRow]:
        """Every reported row in the order in which it was judged. For a trial that was run anew, the rows of its last run."""
        lines = list(self._lines(ROWS, RowLine))
        starts = {line["fingerprint"]: number for number, line in enumerate(lines) if line["row"] is None}
        return [line for number, line in enumerate(lines) if number > starts.get(line["fingerprint"], -1)]

    def restart_rows(self, fingerprint: str) -> None:
        """Mark that a trial is run anew: its earlier rows no longer count."""
        self.append_row(fingerprint, None)

    def append_row(self, fingerprint: str, row: Row | None) -> None:
        self.backend.append(ROWS, {"fingerprint": fingerprint, "row": row})

    def results(self) -> dict[str, Record]:
        """Every finished trial by fingerprint: its record, with `curves`."""
        names = [trial_file(fingerprint, RESULT) for fingerprint in sorted(self.finished())]
        texts = self.backend.read_many(names)
        return {
            name.split("/")[1]: _plain_result(text, f"{self.location}/{name}")
            for name, text in zip(names, texts, strict=True)
            if text is not None
        }

    def finished(self) -> set[str]:
        """Fingerprints with an end marker."""
        return self.holders(RESULT)

    def begun(self) -> set[str]:
        """Fingerprints of all trials that were ever handed out."""
        return self.holders(TRIAL)

    def holders(self, file: str) -> set[str]:
        """Fingerprints of the trials that have a file of this name."""
        parts = (name.split("/") for name in self.backend.names("trials"))
        return {part[1] for part in parts if len(part) == 3 and part[2] == file}

    # -- of a trial -----------------------------------------------------------------------------------------------

    def where(self, fingerprint: str) -> str:
        """The location of a trial's files, for messages."""
        return f"{self.location}/trials/{fingerprint}"

    def trial(self, fingerprint: str) -> str | None:
        """The config of a trial as YAML text; None where it was never handed out.

        Raises:
            UserError: the file is no text.
        """
        text = self.backend.read(trial_file(fingerprint, TRIAL))
        try:
            return None if text is None else text.decode()
        except UnicodeDecodeError:
            where = f"{self.where(fingerprint)}/{TRIAL}"
            raise UserError(where, "is damaged: it is no UTF-8 text; restore it or remove its folder") from None

    def write_trial(self, fingerprint: str, text: str) -> None:
        self.backend.write(trial_file(fingerprint, TRIAL), text.encode())

    def attempts(self, fingerprint: str) -> list[AttemptLine]:
        """The lines of `attempts.jsonl`: one for each time that a worker began the trial."""
        return list(self._lines(trial_file(fingerprint, ATTEMPTS), AttemptPart))

    def append_attempt(self, fingerprint: str, attempt: AttemptLine) -> None:
        self.backend.append(trial_file(fingerprint, ATTEMPTS), dict(attempt))
        self.backend.flush()

    def write_result(self, fingerprint: str, text: str) -> None:
        """Write the end marker of a trial in one step, after the rows on which the result rests."""
        self.backend.flush()
        self.backend.write(trial_file(fingerprint, RESULT), text.encode())

    def remove_result(self, fingerprint: str) -> None:
        self.backend.remove(trial_file(fingerprint, RESULT))

    def write_killed(self, fingerprint: str, reason: str) -> None:
        """Store why a watchdog ends the process of a trial."""
        self.backend.write(trial_file(fingerprint, KILLED), json.dumps({"reason": reason}).encode())

    def why_killed(self, fingerprint: str) -> str | None:
        """Why a watchdog ended the process of a trial; None where none did."""
        name = trial_file(fingerprint, KILLED)
        text = self.backend.read(name)
        return None if text is None else self._content(name, text, KilledFile)["reason"]

    def file(self, fingerprint: str, name: str) -> bytes | None:
        """A file of a trial; None where it does not exist."""
        return self.backend.read(trial_file(fingerprint, name))

    def fetch(self, fingerprint: str, name: str, folder: Path) -> bool:
        """Copy a file of a trial into a folder; False where it does not exist."""
        data = self.file(fingerprint, name)
        if data is not None:
            write_atomically(folder / name, data)
        return data is not None

    def keep(self, fingerprint: str, file: Path) -> None:
        """Copy a file of a trial into the store, in one step."""
        self.backend.write(trial_file(fingerprint, file.name), file.read_bytes())

    def _content(self, name: str, text: bytes, shape: type[BaseModel]) -> Any:
        """The value of a JSON file.

        Raises:
            UserError: it is damaged.
        """
        value = parse_json(text, f"{self.location}/{name}")
        require_content(value, shape, f"{self.location}/{name}")
        return value

    def _lines(self, name: str, shape: type[BaseModel]) -> Iterator[Any]:
        """The lines of a JSON-lines file.

        Raises:
            UserError: one is damaged.
        """
        for line in self.backend.lines(name):
            require_content(line, shape, f"{self.location}/{name}")
            yield line

    def is_copy_of(self, location: str) -> bool:
        """Whether the store at another location is the original of this one: the same identity in another folder."""
        try:
            identity = self.identity()
            return identity is not None and identity == Store(location).identity() and not _is_same_folder(location, self.location)
        except Exception:  # any kind of storage can be unreachable from this machine
            return False


def trial_file(fingerprint: str, name: str) -> str:
    """The name of a trial's file in the store."""
    return f"trials/{fingerprint}/{name}"


def _plain_result(text: bytes, where: str) -> Record:
    """The record of a `result.json`, with `curves`; metrics have today's names.

    Raises:
        UserError: a later version wrote the file, or it is damaged.
    """
    result = FitResult.from_fields(parse_json(text, where), where)
    absent = next((name for name in REQUIRED if name not in result.record), None)
    if absent is not None:
        raise UserError(where, f"is damaged ({absent} is absent): restore or remove it")
    return result.record | {"curves": result.curves}


def _is_same_folder(one: str, other: str) -> bool:
    return one == other or (Path(one).exists() and Path(other).exists() and Path(one).samefile(other))
