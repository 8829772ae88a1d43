"""The interface of a storage: named bytes, appended lines, one lock."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from rrm.errors import UserError

LOCK = "lock"


class Extent(NamedTuple):
    """How much a store holds, and when it changed last."""

    size: int  # bytes of all files
    modified: float  # seconds since 1970; 0 where it is empty or cannot be read


class Backend(ABC):
    """Holds a store. Names are relative, with `/` between their parts."""

    location: str  # the folder or the URI, as a user writes it

    @abstractmethod
    def prepare(self) -> None:
        """Make the storage ready to be written.

        Raises:
            UserError: the storage cannot be written.
        """

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """Content, or None where the name does not exist."""

    @abstractmethod
    def write(self, name: str, data: bytes) -> None:
        """Replace the content in one step: a reader gets the old content or the new one."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a name that exists."""

    @abstractmethod
    def names(self, prefix: str) -> list[str]:
        """All names below a prefix, sorted."""

    @abstractmethod
    def folders(self) -> list[str]:
        """Names of the folders directly in it, sorted."""

    @abstractmethod
    def extent(self) -> Extent:
        """Size of all files, those of the driver in the same place included, and time of the last change."""

    @abstractmethod
    def append(self, name: str, value: dict[str, Any]) -> None:
        """Add a line to those of `lines`. A name has one writer."""

    @abstractmethod
    def lines(self, name: str) -> Iterator[Any]:
        """The appended lines in order; a torn last one, left by a crash, is dropped."""

    @abstractmethod
    def flush(self) -> None:
        """Write every appended line to where it survives a crash of this process."""

    @abstractmethod
    def locked(self) -> AbstractContextManager[None]:
        """A context that holds the store against other drivers.

        Raises:
            UserError: another driver holds it.
        """

    @abstractmethod
    def holder(self) -> str | None:
        """The driver that holds the lock now; None where it is free."""

    def read_many(self, names: list[str]) -> list[bytes | None]:
        """Contents by name, in order."""
        return [self.read(name) for name in names]

    def held_by(self, holder: str) -> UserError:
        """The error for a store that another driver holds."""
        return UserError(self.location, f"is being run by another driver ({holder})")


def driver_name() -> str:
    """The name of this process in a lock."""
    return f"process {os.getpid()} on {os.uname().nodename}"
