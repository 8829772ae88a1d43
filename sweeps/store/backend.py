"""Where a store lies: a folder, or an object store behind a URI. Named pieces of text and bytes, lines, and one lock.

A folder is locked by the system, which frees the lock when a driver dies. An object store knows only conditional
writes, so the lock there is an object with a date: renewed while its driver lives, and free when it has expired.
"""

import fcntl
import json
import os
import re
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning_modules.files import write_atomically
from rrm.errors import UserError

LOCK = "lock"
LEASE_SECONDS = 60.0  # a driver on an object store that has not renewed its lock for so long is dead
FLUSH_SECONDS = 5.0  # lines wait at most so long before they go up
PARALLEL_READS = 32
URI = re.compile(r"^[a-z0-9+.-]+://")


class Place(ABC):
    """Holds a store. Names are relative, with `/` between their parts."""

    location: str  # as people write it
    errors: tuple[type[Exception], ...] = (OSError,)  # what it raises when it does not take or give something

    @abstractmethod
    def prepare(self) -> None:
        """Make it ready to be written.

        Raises:
            UserError: it cannot be written.
        """

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """Content, or None where there is nothing of that name."""

    @abstractmethod
    def write(self, name: str, data: bytes) -> None:
        """Replace the content in one step: readers see the old one or the new one."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove what bears this name, which must be there."""

    @abstractmethod
    def names(self, prefix: str) -> list[str]:
        """All names below a prefix, sorted."""

    @abstractmethod
    def append(self, name: str, value: dict[str, Any]) -> None:
        """Add a line to what `lines` gives; one writer a name."""

    @abstractmethod
    def lines(self, name: str) -> Iterator[dict[str, Any]]:
        """The appended lines in order; a torn last one, left by a crash, is dropped."""

    @abstractmethod
    def flush(self) -> None:
        """See to it that every appended line would survive a crash of this process."""

    @abstractmethod
    def locked(self) -> Any:
        """A context that holds the place against other drivers.

        Raises:
            UserError: another driver holds it.
        """

    @abstractmethod
    def holder(self) -> str | None:
        """Who holds the lock now."""

    def read_many(self, names: list[str]) -> list[bytes | None]:
        """Contents by name, in order."""
        return [self.read(name) for name in names]

    def _held_by(self, holder: str) -> UserError:
        return UserError(f"is being run by another driver ({holder})", self.location)


class Folder(Place):
    """A folder that driver and workers see."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.location = str(self.path)

    def prepare(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / LOCK).touch()
        except OSError as error:
            raise UserError(f"cannot be written: {error.strerror}", self.location) from None

    def read(self, name: str) -> bytes | None:
        try:
            return (self.path / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, name: str, data: bytes) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)

    def remove(self, name: str) -> None:
        (self.path / name).unlink()

    def names(self, prefix: str) -> list[str]:
        return sorted(str(file.relative_to(self.path)) for file in (self.path / prefix).glob("**/*") if file.is_file())

    def append(self, name: str, value: dict[str, Any]) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        append_line(path, value)

    def lines(self, name: str) -> Iterator[dict[str, Any]]:
        return read_lines(self.path / name)

    def flush(self) -> None:
        """Each line was handed to the system when it was appended."""

    @contextmanager
    def locked(self) -> Iterator[None]:
        with (self.path / LOCK).open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                raise self._held_by(file.read().strip()) from None
            file.truncate(0)
            file.write(f"{driver_name()}\n")
            file.flush()
            yield

    def holder(self) -> str | None:
        try:
            file = (self.path / LOCK).open("r")
        except FileNotFoundError:
            return None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return file.read().strip() or "another driver"
        return None


class Bucket(Place):
    """A prefix of an object store: s3://, gs://, az://. Credentials and endpoint come from the environment."""

    def __init__(self, uri: str) -> None:
        self.location = uri.rstrip("/")
        try:
            from obstore.exceptions import BaseError
            from obstore.store import from_url
        except ImportError:
            raise UserError("needs the extra s3: pip install 'rrm-sweeps[s3]'", self.location) from None
        try:
            # An endpoint without TLS is used where the environment names one.
            self._objects: Any = from_url(self.location, client_options={"allow_http": True, "timeout": "30s"})
        except (BaseError, ValueError) as error:
            raise UserError(f"is not a storage that can be opened: {_first_line(error)}", self.location) from None
        self.errors = (BaseError, OSError)
        self._waiting: dict[str, list[str]] = {}  # appended lines that have not gone up yet
        self._next_part: dict[str, int] = {}
        self._flushed_at = time.monotonic()

    def prepare(self) -> None:
        from obstore.exceptions import BaseError

        try:
            self._objects.put("writable", b"")
        except (BaseError, OSError) as error:
            raise UserError(f"cannot be written: {_first_line(error)}", self.location) from None

    def read(self, name: str) -> bytes | None:
        try:
            return bytes(self._objects.get(name).bytes())
        except FileNotFoundError:
            return None

    def read_many(self, names: list[str]) -> list[bytes | None]:
        with ThreadPoolExecutor(PARALLEL_READS) as pool:
            return list(pool.map(self.read, names))

    def write(self, name: str, data: bytes) -> None:
        self._objects.put(name, data)

    def remove(self, name: str) -> None:
        self._objects.delete(name)

    def names(self, prefix: str) -> list[str]:
        return sorted(entry["path"] for entry in self._objects.list(prefix).collect())

    def append(self, name: str, value: dict[str, Any]) -> None:
        """Objects cannot grow: lines go up together, in numbered parts."""
        self._waiting.setdefault(name, []).append(json.dumps(value) + "\n")
        if time.monotonic() - self._flushed_at > FLUSH_SECONDS:
            self.flush()

    def lines(self, name: str) -> Iterator[dict[str, Any]]:
        parts = self.read_many(self.names(name))
        for line in b"".join(part or b"" for part in parts).splitlines():
            yield parse_json(line, f"{self.location}/{name}")

    def flush(self) -> None:
        for name, lines in list(self._waiting.items()):
            if name not in self._next_part:
                self._next_part[name] = 1 + max((int(Path(part).stem) for part in self.names(name)), default=-1)
            self.write(f"{name}/{self._next_part[name]:08d}.jsonl", "".join(lines).encode())
            self._next_part[name] += 1
            del self._waiting[name]
        self._flushed_at = time.monotonic()

    @contextmanager
    def locked(self) -> Iterator[None]:
        lease = Lease(self._objects, self.location)
        lease.take()
        try:
            yield
        finally:
            self.flush()
            lease.release()

    def holder(self) -> str | None:
        text = self.read(LOCK)
        held = json.loads(text) if text else None
        return held["holder"] if held and held["expires"] > time.time() else None


class Lease:
    """The lock of an object store: written only over what was read, renewed by a thread."""

    def __init__(self, objects: Any, location: str, seconds: float = LEASE_SECONDS) -> None:
        self.objects, self.location, self.seconds = objects, location, seconds
        self._tag = ""  # of the version that this driver wrote last
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lock", daemon=True)

    def take(self) -> None:
        """Take the lock and keep it.

        Raises:
            UserError: another driver holds it, or takes it at the same moment.
        """
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            self._write("create", self.seconds)
        except AlreadyExistsError:
            found = self.objects.get(LOCK)
            held = json.loads(bytes(found.bytes()))
            if held["expires"] > time.time():
                raise UserError(f"is being run by another driver ({held['holder']})", self.location) from None
            try:
                self._write({"e_tag": found.meta["e_tag"]}, self.seconds)
            except PreconditionError:
                raise UserError("is being run by another driver (that started at this moment)", self.location) from None
        self._thread.start()

    def release(self) -> None:
        """Free the lock, if it is still ours."""
        from obstore.exceptions import PreconditionError

        self._over.set()
        self._thread.join()
        try:
            self._write({"e_tag": self._tag}, 0.0)
        except PreconditionError:
            return

    def _renew(self) -> None:
        """Renew at a third of the lease; a driver that cannot is stopped as by Ctrl-C, since another one may begin."""
        from obstore.exceptions import BaseError, PreconditionError

        deadline = time.monotonic() + self.seconds
        while not self._over.wait(self.seconds / 3):
            try:
                self._write({"e_tag": self._tag}, self.seconds)
                deadline = time.monotonic() + self.seconds
            except PreconditionError:
                return os.kill(os.getpid(), signal.SIGINT)
            except (BaseError, OSError):
                if time.monotonic() > deadline - self.seconds / 3:
                    return os.kill(os.getpid(), signal.SIGINT)

    def _write(self, mode: Any, seconds: float) -> None:
        text = json.dumps({"holder": driver_name(), "expires": time.time() + seconds if seconds else 0.0})
        self._tag = self.objects.put(LOCK, text.encode(), mode=mode)["e_tag"]


def open_place(location: str | Path) -> Place:
    """The place at a folder or a URI.

    Raises:
        UserError: no storage can be opened there.
    """
    return Bucket(str(location)) if URI.match(str(location)) else Folder(Path(location))


def driver_name() -> str:
    """How a lock names this process."""
    return f"process {os.getpid()} on {os.uname().nodename}"


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON-lines file; a torn last line, left by a crash, is dropped."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield parse_json(line, str(path))


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


def parse_json(text: bytes, where: str) -> Any:
    """What a file of a store says.

    Raises:
        UserError: it is damaged.
    """
    try:
        return json.loads(text)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"is damaged ({error}): restore or remove it", where) from None


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200]
