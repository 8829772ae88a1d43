"""The spool: an append-only file of what tracking is to say, and a cursor that moves after it was said.

Always a local folder under the driver's lock. A record that was spooled once is not spooled again, so that a restarted
driver may offer everything it knows.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightning_modules.atomic_write import write_atomically
from sweeps.store.json_lines import append_line, read_lines

Event = dict[str, Any]
BATCH_EVENTS = 200


class Spool:
    """Events in the order in which they happened; `kind` is sweep, state, start, cell, points, end, curves or models."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.events_file, self.cursor_file = folder / "events.jsonl", folder / "cursor"
        self.dead_letters_file = folder / "dead_letters.jsonl"
        self._said: dict[tuple[str, str], str | None] = {}  # status by (kind, fingerprint) of events that come once
        self._last_step: dict[str, int] = {}
        self._told = 0
        for event in read_lines(self.events_file):
            self._remember(event)

    def add_once(self, event: Event) -> None:
        """Spool an event that comes once a trial (or once a sweep, where it has no fingerprint), or again with another `status`."""
        key = (event["kind"], event.get("fingerprint", ""))
        if key not in self._said or self._said[key] != event.get("status"):
            append_line(self.events_file, event)
            self._remember(event)

    def holds(self, kind: str, fingerprint: str = "") -> bool:
        """Whether such an event was spooled before."""
        return (kind, fingerprint) in self._said

    def add_points(self, fingerprint: str, points: list[dict[str, Any]]) -> None:
        """Spool points of curves by step; steps that were spooled before are dropped."""
        fresh = [point for point in points if point["at"] > self._last_step.get(fingerprint, -1)]
        if fresh:
            event = {"kind": "points", "fingerprint": fingerprint, "points": fresh}
            append_line(self.events_file, event)
            self._remember(event)

    def pending(self) -> tuple[list[Event], int]:
        """Some events that were not said yet, in order, and where the cursor stands after them."""
        if not self.events_file.exists():
            return [], 0
        events: list[Event] = []
        position = self._cursor()
        with self.events_file.open("rb") as file:
            file.seek(position)
            for line in file:
                if not line.endswith(b"\n") or len(events) == BATCH_EVENTS:
                    break
                events.append(json.loads(line))
                position += len(line)
        return events, position

    def advance(self, position: int) -> None:
        """The events before `position` were said."""
        write_atomically(self.cursor_file, str(position))

    @property
    def told(self) -> int:
        """How many points and ends were spooled: what curves are made of."""
        return self._told

    @property
    def is_empty(self) -> bool:
        """Whether everything was said."""
        return not self.events_file.exists() or self._cursor() >= self.events_file.stat().st_size

    def events(self) -> Iterator[Event]:
        """Every event so far, said or not."""
        yield from read_lines(self.events_file)

    def bury(self, events: list[Event], reason: str) -> None:
        """Set events aside that the server will never take."""
        for event in events:
            append_line(self.dead_letters_file, {"reason": reason, "event": event})

    def _cursor(self) -> int:
        return int(self.cursor_file.read_text(encoding="utf-8")) if self.cursor_file.exists() else 0

    def _remember(self, event: Event) -> None:
        fingerprint = event.get("fingerprint", "")
        self._told += "points" in event
        if event["kind"] == "points":
            last = max(point["at"] for point in event["points"])
            self._last_step[fingerprint] = max(last, self._last_step.get(fingerprint, -1))
        else:
            self._said[event["kind"], fingerprint] = event.get("status")
