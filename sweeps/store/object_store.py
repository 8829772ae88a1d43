"""A store on an object store such as S3.

An object store offers conditional writes and no locks. The lock is an object with a date: its driver renews it, and it is free
when the date has passed.
"""

import json
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rrm.errors import UserError, first_line
from sweeps.store.backend import LOCK, Backend, driver_name
from sweeps.store.json_lines import parse_json

LEASE_SECONDS = 60.0  # a driver that has not renewed its lock for this long counts as dead
FLUSH_SECONDS = 5.0  # lines wait at most this long before they go up
PARALLEL_READS = 32
# In errors of a client without credentials: addresses that a cloud's machine asks for them, and what it lacks.
WITHOUT_CREDENTIALS = ("169.254.", "metadata.google", "Missing SecretAccessKey", "Missing AccessKeyId", "Account must be specified")
CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_SERVICE_ACCOUNT (the path of a key file)",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
SECRETS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"}
ENDPOINT = re.compile(r"https?://[\w.\[\]:-]+(/\S*)?")


def check_environment() -> None:
    """Refuse what the client would end the process for.

    Raises:
        UserError: a variable of a cloud is not an endpoint's address, or has a line break in it.
    """
    for name, value in sorted(os.environ.items()):
        if not name.startswith(("AWS_", "AZURE_", "GOOGLE_")) or not value:
            continue
        if "ENDPOINT" in name and not ENDPOINT.fullmatch(value):
            raise UserError(f"must be the address of a server such as http://localhost:9000, got {value!r}", name)
        if name in SECRETS and not value.isprintable():
            raise UserError("must be one line without control characters: set it anew, without a line break", name)


@contextmanager
def one_line(location: str, problem: str) -> Iterator[None]:
    """Turn what the client raises into a line that begins with `problem`.

    Raises:
        UserError: the object store does not answer, refuses, or cannot be asked.
    """
    from obstore.exceptions import BaseError

    try:
        yield
    except BaseException as error:
        is_panic = type(error).__module__ == "pyo3_runtime"  # of the client's Rust code; no Exception
        if not is_panic and not isinstance(error, BaseError | OSError | ValueError):
            raise
        lacks_credentials = any(sign in str(error) for sign in WITHOUT_CREDENTIALS)
        variables = CREDENTIALS.get(location.split(":")[0]) if lacks_credentials else None
        remedy = f"no credentials are found: set {variables} in the environment; " if variables else ""
        raise UserError(f"{problem}: {remedy}{first_line(error)}", location) from None


class ObjectStore(Backend):
    """A prefix of an object store: s3://, gs://, az://. Credentials and endpoint come from the environment."""

    def __init__(self, uri: str) -> None:
        self.location = uri.rstrip("/")
        try:
            from obstore.exceptions import BaseError
            from obstore.store import from_url
        except ImportError:
            raise UserError("needs the extra s3: pip install 'rrm-sweeps[s3]'", self.location) from None
        check_environment()
        with one_line(self.location, "is not a storage that can be opened"):
            # An endpoint without TLS is used where the environment names one.
            self._objects: Any = from_url(self.location, client_options={"allow_http": True, "timeout": "30s"})
        self.errors = (BaseError, OSError)
        self._waiting: dict[str, list[str]] = {}  # appended lines that have not gone up yet
        self._next_part: dict[str, int] = {}
        self._flushed_at = time.monotonic()

    def prepare(self) -> None:
        with one_line(self.location, "cannot be written"):
            self._objects.put("writable", b"")

    def read(self, name: str) -> bytes | None:
        with one_line(self.location, "cannot be read"):
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
        with one_line(self.location, "cannot be read"):
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
