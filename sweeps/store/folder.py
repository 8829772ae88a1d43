"""A storage in a folder. The operating system frees the lock when a driver dies."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISREG
from typing import Any

from lightning_modules.atomic_write import write_atomically
from rrm.errors import UserError
from sweeps.store.backend import LOCK, Backend, Extent, driver_name
from sweeps.store.json_lines import append_line, read_lines


class Folder(Backend):
    """A folder that the driver and all workers can read and write."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.location = str(self.path)

    def prepare(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / LOCK).touch()
        except OSError as error:
            raise UserError(self.location, f"cannot be written: {error.strerror}") from None

    def read(self, name: str) -> bytes | None:
        try:
            return (self.path / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise UserError(str(self.path / name), f"cannot be read: {error.strerror}") from None

    def write(self, name: str, data: bytes) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)

    def remove(self, name: str) -> None:
        (self.path / name).unlink()

    def names(self, prefix: str) -> list[str]:
        walked = os.walk(self.path / prefix, onerror=self._refuse_unreadable)
        return sorted(str(Path(folder, file).relative_to(self.path)) for folder, _, files in walked for file in files)

    def folders(self) -> list[str]:
        try:
            return sorted(entry.name for entry in self.path.iterdir() if entry.is_dir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise UserError(self.location, f"cannot be read: {error.strerror}") from None

    def extent(self) -> Extent:
        size, modified = 0, 0.0
        for folder, _, files in os.walk(self.path):
            for path in (Path(folder), *(Path(folder, file) for file in files)):
                with suppress(FileNotFoundError):  # a file that a driver has replaced or removed meanwhile
                    stat = path.stat()
                    size += stat.st_size if S_ISREG(stat.st_mode) else 0
                    modified = max(modified, stat.st_mtime)
        return Extent(size, modified)

    def _refuse_unreadable(self, error: OSError) -> None:
        """Raise what a walk over folders meets; a folder that is absent, or removed meanwhile, has no files."""
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise UserError(str(error.filename), f"cannot be read: {error.strerror}") from None

    def append(self, name: str, value: dict[str, Any]) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        append_line(path, value)

    def lines(self, name: str) -> Iterator[Any]:
        try:
            yield from read_lines(self.path / name)
        except OSError as error:
            raise UserError(str(self.path / name), f"cannot be read: {error.strerror}") from None

    def flush(self) -> None:
        """Nothing to do: `append` hands each line to the operating system."""

    @contextmanager
    def locked(self) -> Iterator[None]:
        with (self.path / LOCK).open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                raise self.held_by(file.read().strip()) from None
            file.truncate(0)
            file.write(f"{driver_name()}\n")
            file.flush()
            yield

    def holder(self) -> str | None:
        try:
            file = (self.path / LOCK).open("r", encoding="utf-8")
        except (FileNotFoundError, PermissionError):
            return None
        except OSError as error:
            raise UserError(str(self.path / LOCK), f"cannot be read: {error.strerror}") from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return file.read().strip() or "another driver"
        return None
