"""The sweeps of a storage, newest first, from their stores; loads neither ray nor torch, and imports no plug-in."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from rich import box
from rich.table import Table

from rrm.errors import UserError
from rrm.files import join_location
from sweeps.cli.status import read_status
from sweeps.store.backend import Extent
from sweeps.store.find_store import ANOTHER, list_sweeps
from sweeps.store.store import Store

COLUMNS = ("sweep", "state", "trials", "best", "size", "changed")
UNITS = ("B", "kB", "MB", "GB", "TB")
DAMAGED = "damaged"  # state of a sweep whose store cannot be read


@dataclass(frozen=True)
class Entry:
    """A sweep of a storage."""

    name: str
    state: str  # running, finished or stopped; damaged where its store cannot be read
    trials: str  # ended and asked ones: `3/12`
    best: str  # score of the best trial; of a damaged sweep what is wrong
    extent: Extent

    def cells(self) -> tuple[str, ...]:
        """The entry as a row of the table."""
        modified = self.extent.modified
        changed = datetime.fromtimestamp(modified).strftime("%Y-%m-%d %H:%M") if modified else "-"
        return self.name, self.state, self.trials, self.best, describe_size(self.extent.size), changed


def list_entries(storage: str) -> list[Entry]:
    """The sweeps of a storage, the one that changed last first.

    Raises:
        UserError: the storage cannot be read, or holds no sweeps.
    """
    names = list_sweeps(storage)
    if not names:
        raise UserError(storage, f"holds no sweeps{ANOTHER}")
    entries = [_read_entry(name, Store(join_location(storage, name))) for name in names]
    return sorted(entries, key=lambda entry: (-entry.extent.modified, entry.name))


def list_table(entries: Iterable[Entry]) -> Table:
    """The entries as a table of text."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in COLUMNS:
        table.add_column(column, no_wrap=True)
    for entry in entries:
        table.add_row(*entry.cells())
    return table


def describe_size(size: float) -> str:
    """`12 kB`, in powers of 1000."""
    number = 0
    while size >= 1000 and number < len(UNITS) - 1:
        size, number = size / 1000, number + 1
    return f"{size:.3g} {UNITS[number]}" if size < 999.5 else f"{size:.0f} {UNITS[number]}"


def _read_entry(name: str, store: Store) -> Entry:
    extent = store.backend.extent()
    try:
        status = read_status(store)
    except UserError as error:
        return Entry(name, DAMAGED, "-", str(error), extent)
    return Entry(name, status.state, f"{status.outcomes.total()}/{status.asked}", status.score or "-", extent)
