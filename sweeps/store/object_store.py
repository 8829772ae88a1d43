"""A store on an object store such as S3.

An object store offers conditional writes and no locks. The lock is an object with a date: its driver renews it, and it is free
after that date.
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
from sweeps.store.backend import LOCK, Backend, Extent, driver_name
from sweeps.store.json_lines import parse_json

LEASE_SECONDS = 60.0  # a driver that has not renewed its lock for this long counts as dead
FLUSH_SECONDS = 5.0  # lines wait at most this long before they go up
PARALLEL_READS = 32
# Parts of the errors of a client without credentials: addresses where a cloud's machine requests them, and names of missing ones.
WITHOUT_CREDENTIALS = ("169.254.", "metadata.google", "Missing SecretAccessKey", "Missing AccessKeyId", "Account must be specified")
CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_SERVICE_ACCOUNT (the path of a key file)",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
SECRETS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"}
CANNOT_WRITE, RUN_AGAIN = "cannot be written", "; restore access, then run the same command again"
ENDPOINT = re.compile(r"https?://[\w.\[\]:-]+(/\S*)?")


def check_environment() -> None:
    """Refuse values of the environment for which the client would end the process.

    Raises:
        UserError: a variable of a cloud is not an endpoint's address, or has a line break in it.
    """
    for name, value in sorted(os.environ.items()):
        if not name.startswith(("AWS_", "AZURE_", "GOOGLE_")) or not value:
            continue
        if "ENDPOINT" in name and not ENDPOINT.fullmatch(value):
            raise UserError(name, f"must be the address of a server such as http://localhost:9000, got {value!r}")
        if name in SECRETS and not value.isprintable():
            raise UserError(name, "must be one line without control characters: set it anew, without a line break")


def check_bucket(uri: str) -> None:
    """Refuse a URI that names no bucket.

    Raises:
        UserError: the part between its slashes is empty.
    """
    scheme, _, rest = uri.partition("://")
    if not rest.partition("/")[0]:
        raise UserError(uri, f"must name a bucket: {scheme}://BUCKET/FOLDER")


@contextmanager
def one_line(location: str, problem: str, remedy: str = "") -> Iterator[None]:
    """Turn what the client raises into a line that begins with `problem` and ends with `remedy`.

    Raises:
        UserError: the object store does not answer, refuses, or cannot be asked.
    """
    from obstore.exceptions import BaseError

    try:
        yield
    except BaseException as error:
        is_panic = type(error).__module__ == "pyo3_runtime"  # from the client's Rust code; it is not an Exception
        if not is_panic and not isinstance(error, BaseError | OSError | ValueError):
            raise
        lacks_credentials = any(sign in str(error) for sign in WITHOUT_CREDENTIALS)
        variables = CREDENTIALS.get(location.split(":")[0]) if lacks_credentials else None
        credentials = f"no credentials are found: set {variables} in the environment; " if variables else ""
        raise UserError(location, f"{problem}: {credentials}{first_line(error)}{remedy}") from None


class ObjectStore(Backend):
    """A prefix of an object store: s3://, gs://, az://. Credentials and endpoint come from the environment.

    Each call raises one line where the object store does not answer or refuses.
    """

    def __init__(self, uri: str) -> None:
        try:
            from obstore.store import from_url
        except ImportError:
            raise UserError(uri, "needs the extra s3: pip install 'rrm-sweeps[s3]'") from None
        scheme, _, rest = uri.partition("://")
        self.location = f"{scheme}://{rest.rstrip('/')}"
        check_bucket(self.location)
        check_environment()
        with one_line(self.location, "is not a storage that can be opened"):
            # An endpoint without TLS is used where the environment names one.
            self._objects: Any = from_url(self.location, client_options={"allow_http": True, "timeout": "30s"})
        self._waiting: dict[str, list[str]] = {}  # appended lines that have not gone up yet
        self._next_part: dict[str, int] = {}
        self._flushed_at = time.monotonic()

    def prepare(self) -> None:
        with one_line(self.location, CANNOT_WRITE):
            self._objects.put("writable", b"")

    def read(self, name: str) -> bytes | None:
        return self.read_version(name)[0]

    def read_version(self, name: str) -> tuple[bytes, str] | tuple[None, None]:
        """Content and tag of the version; None twice where the object does not exist."""
        with one_line(self.location, "cannot be read"):
            try:
                answer = self._objects.get(name)
                return bytes(answer.bytes()), answer.meta["e_tag"]
            except FileNotFoundError:
                return None, None

    def read_many(self, names: list[str]) -> list[bytes | None]:
        with ThreadPoolExecutor(PARALLEL_READS) as pool:
            return list(pool.map(self.read, names))

    def write(self, name: str, data: bytes) -> None:
        with one_line(self.location, CANNOT_WRITE, RUN_AGAIN):
            self._objects.put(name, data)

    def write_if(self, mode: Any, name: str, data: bytes) -> str | None:
        """Replace the version that `mode` requires; the tag of the new one, or None where the object has another version."""
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with one_line(self.location, CANNOT_WRITE, RUN_AGAIN):
            try:
                return str(self._objects.put(name, data, mode=mode)["e_tag"])
            except (AlreadyExistsError, PreconditionError):
                return None

    def remove(self, name: str) -> None:
        with one_line(self.location, CANNOT_WRITE, RUN_AGAIN):
            self._objects.delete(name)

    def names(self, prefix: str) -> list[str]:
        with one_line(self.location, "cannot be read"):
            return sorted(entry["path"] for entry in self._objects.list(prefix).collect())

    def folders(self) -> list[str]:
        with one_line(self.location, "cannot be read"):
            return sorted(self._objects.list_with_delimiter()["common_prefixes"])

    def extent(self) -> Extent:
        with one_line(self.location, "cannot be read"):
            entries = self._objects.list().collect()
        modified = max((entry["last_modified"].timestamp() for entry in entries), default=0.0)
        return Extent(sum(entry["size"] for entry in entries), modified)

    def append(self, name: str, value: dict[str, Any]) -> None:
        """Objects cannot grow: lines go up together, in numbered parts."""
        self._waiting.setdefault(name, []).append(json.dumps(value) + "\n")
        if time.monotonic() - self._flushed_at > FLUSH_SECONDS:
            self.flush()

    def lines(self, name: str) -> Iterator[Any]:
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
        lease = Lease(self)
        lease.take()
        try:
            yield
        finally:
            try:
                self.flush()
            finally:
                lease.release()

    def holder(self) -> str | None:
        text = self.read(LOCK)
        return None if text is None else parse_lock(text, self.location)


def parse_lock(text: bytes, location: str) -> str | None:
    """The holder of a lock; None where it is free.

    Raises:
        UserError: it is damaged.
    """
    where = f"{location}/{LOCK}"
    held = parse_json(text, where)
    if not isinstance(held, dict) or not isinstance(held.get("expires"), int | float):
        raise UserError(where, "is damaged (no holder and date of expiry): remove it once no driver runs the sweep")
    return str(held.get("holder")) if held["expires"] > time.time() else None


class Lease:
    """The lock of an object store: a write replaces only the version that was read, and a thread renews it."""

    def __init__(self, objects: ObjectStore, seconds: float = LEASE_SECONDS) -> None:
        self.objects, self.seconds = objects, seconds
        self._tag: str | None = None  # tag of the version that this driver wrote last
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lock", daemon=True)

    def take(self) -> None:
        """Take the lock and renew it until `release`.

        Raises:
            UserError: another driver holds it, or takes it at the same moment; or it is damaged.
        """
        if not self._write("create", self.seconds):
            text, tag = self.objects.read_version(LOCK)
            holder = None if text is None else parse_lock(text, self.objects.location)
            if holder is not None:
                raise self.objects.held_by(holder)
            if not self._write("create" if text is None else {"e_tag": tag}, self.seconds):
                raise self.objects.held_by("that started at this moment")
        self._thread.start()

    def release(self) -> None:
        """Free the lock, unless another driver has taken it."""
        self._over.set()
        self._thread.join()
        self._write({"e_tag": self._tag}, 0.0)

    def _renew(self) -> None:
        """Renew at a third of the lease. A driver that cannot renew is stopped as by Ctrl-C, because another one may begin."""
        deadline = time.monotonic() + self.seconds
        while not self._over.wait(self.seconds / 3):
            try:
                if not self._write({"e_tag": self._tag}, self.seconds):
                    return os.kill(os.getpid(), signal.SIGINT)
                deadline = time.monotonic() + self.seconds
            except UserError:
                if time.monotonic() > deadline - self.seconds / 3:
                    return os.kill(os.getpid(), signal.SIGINT)

    def _write(self, mode: Any, seconds: float) -> bool:
        """Lock for some seconds, or free the lock with 0; False where the lock had another version than `mode` requires."""
        text = json.dumps({"holder": driver_name(), "expires": time.time() + seconds if seconds else 0.0})
        tag = self.objects.write_if(mode, LOCK, text.encode())
        self._tag = tag or self._tag
        return tag is not None
