"""The interface of a storage: named bytes, appended lines, one lock."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from rrm.errors import UserError

LOCK = "lock"


class Backend(ABC):
    """Holds a store. Names are relative, with `/` between their parts."""

    location: str  # as people write it

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
    def folders(self) -> list[str]:
        """Names of the folders directly in it, sorted."""

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
        """A context that holds the store against other drivers.

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
        return UserError(self.location, f"is being run by another driver ({holder})")


def driver_name() -> str:
    """How a lock names this process."""
    return f"process {os.getpid()} on {os.uname().nodename}"
