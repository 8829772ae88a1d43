"""The spool: an append-only file of events, and for each receiver the position up to which it has received them.

It is always a local folder, and the driver's lock protects it. An event that was spooled once is not spooled again, so that a
restarted driver may offer everything that it has.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from lightning_modules.atomic_write import write_atomically
from sweeps.store.json_lines import append_line, parse_json, read_lines
from sweeps.tracking.events import Event, Point, PointsMeasured, SweepBegun, TrialBegun, TrialEnded, read_event, write_event
from sweeps.tracking.progress import EVENTS, SERVERS, Progress

BATCH_EVENTS = 200
SPOOL = "spool"  # folder in the driver's folder
OWNER = "store"  # file in a spool: the identity of the store whose events it holds
OLD_CURSOR = "cursor"  # file in old spools, which had one position for all servers


class Spool:
    """Events in the order in which they happened.

    A trial that is begun anew has a further attempt. The events of its earlier attempts stay in the file and are not read any more.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.events_file = folder, folder / EVENTS
        self._read_all()

    def _read_all(self) -> None:
        self.progress = Progress(self.folder / SERVERS, "")
        self._spooled: dict[tuple[str, str], str | None] = {}  # content by (slot, fingerprint) of the last event
        self._last_step: dict[str, int] = {}
        self._attempts: dict[str, int] = {}
        self.num_curve_events = 0  # events with points of curves, received or not
        for fields in read_lines(self.events_file):
            self._remember(self._parse(fields))

    def follow(self, uri: str) -> None:
        """From now on the position is that of this server."""
        self.progress = Progress(self.folder / SERVERS, uri)

    def belong_to(self, identity: str) -> None:
        """Become the spool of the store with this identity; events of another store that had the same location are removed."""
        if not is_spool_of(self.folder, identity):
            self.events_file.unlink(missing_ok=True)
            (self.folder / OLD_CURSOR).unlink(missing_ok=True)
            shutil.rmtree(self.folder / SERVERS, ignore_errors=True)
            self._read_all()
        write_atomically(self.folder / OWNER, identity)

    def mark_old(self) -> None:
        """Its trials were begun before stores had identities: experiments that hold them may lack one too."""
        (self.folder / OLD_CURSOR).touch()

    def add_once(self, event: Event) -> None:
        """Spool an event unless the last one of its slot and trial had the same content."""
        key = (event.slot, event.fingerprint)
        if key not in self._spooled or self._spooled[key] != event.content:
            self._append(event)

    def add_start(self, event: TrialBegun) -> None:
        """Spool the start of a trial. One that was spooled before is begun anew: what follows belongs to its next attempt."""
        self._append(replace(event, attempt=self._attempts.get(event.fingerprint, 0) + 1))

    def holds_start(self, fingerprint: str) -> bool:
        """Whether the start of a trial was spooled before."""
        return fingerprint in self._attempts

    def holds_end(self, fingerprint: str) -> bool:
        """Whether the last attempt at a trial has ended."""
        return (self._spooled.get(("standing", fingerprint)) or "").startswith("end ")

    def holds_sweep(self) -> bool:
        """Whether a driver has spooled the spec that it ran."""
        return (SweepBegun.kind, "") in self._spooled

    def attempt(self, fingerprint: str) -> int:
        """How often the trial began at step 0."""
        return self._attempts.get(fingerprint, 1)

    def add_points(self, fingerprint: str, points: Sequence[Point]) -> None:
        """Spool points of curves by step; steps that were spooled before are dropped."""
        fresh = [point for point in points if point["at"] > self._last_step.get(fingerprint, -1)]
        if fresh:
            self._append(PointsMeasured(fingerprint=fingerprint, points=fresh))

    def pending(self) -> tuple[list[Event], int]:
        """Some events that the server has not received, in order, and its position after them."""
        events: list[Event] = []
        position = self.progress.position
        for number, (event, end) in enumerate(self._read(position)):
            if number == BATCH_EVENTS:
                break
            position = end
            if self._is_current(event):
                events.append(event)
        return events, position

    def sent(self) -> Iterator[Event]:
        """The events that the server has received."""
        for event, end in self._read(0):
            if end > self.progress.position:
                return
            if self._is_current(event):
                yield event

    def advance(self, position: int) -> None:
        """The server has received the events before `position`."""
        self.progress.position = position
        self.progress.write()

    @property
    def size(self) -> int:
        """Bytes of all events."""
        return self.events_file.stat().st_size if self.events_file.exists() else 0

    @property
    def is_empty(self) -> bool:
        """Whether the server has received everything."""
        return self.progress.position >= self.size

    def events(self) -> Iterator[Event]:
        """Every event so far, received or not."""
        return filter(self._is_current, map(self._parse, read_lines(self.events_file)))

    def _read(self, position: int) -> Iterator[tuple[Event, int]]:
        """Events from a position on, each with the position behind it; a torn last line is left out."""
        if not self.events_file.exists():
            return
        with self.events_file.open("rb") as file:
            file.seek(position)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                position += len(line)
                yield self._parse(parse_json(line, str(self.events_file))), position

    def _parse(self, fields: dict[str, object]) -> Event:
        return read_event(fields, str(self.events_file))

    def _append(self, event: Event) -> None:
        if not isinstance(event, TrialBegun):
            event = replace(event, attempt=self.attempt(event.fingerprint))
        append_line(self.events_file, write_event(event))
        self._remember(event)

    def _is_current(self, event: Event) -> bool:
        """Whether it belongs to the last attempt at its trial."""
        return event.attempt == self.attempt(event.fingerprint)

    def _remember(self, event: Event) -> None:
        fingerprint = event.fingerprint
        self.num_curve_events += isinstance(event, PointsMeasured | TrialEnded)
        if isinstance(event, TrialBegun):
            self._attempts[fingerprint] = event.attempt
            self._last_step.pop(fingerprint, None)
            self._spooled.pop(("standing", fingerprint), None)
        if isinstance(event, PointsMeasured):
            last = max(point["at"] for point in event.points)
            self._last_step[fingerprint] = max(last, self._last_step.get(fingerprint, -1))
        else:
            self._spooled[event.slot, fingerprint] = event.content


def is_spool_of(folder: Path, identity: str | None) -> bool:
    """Whether a spool holds events of the store with this identity; a spool without an owner may be that of any store."""
    owner = folder / OWNER
    return not owner.exists() or owner.read_text(encoding="utf-8") == identity
