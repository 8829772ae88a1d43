"""The progress of one receiver of a spool: a position, the experiment that has the events, and the parts that were set aside."""

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from lightning_modules.atomic_write import write_atomically
from sweeps.store.json_lines import parse_json

EVENTS, SERVERS = "events.jsonl", "servers"  # file and folder in a spool
RUN = "run"  # name of the part that holds params, metrics, tags and the status
NAME_DIGITS = 16


@dataclass(frozen=True)
class Aside:
    """A part of a run that did not arrive although its other parts did."""

    fingerprint: str  # empty for the sweep's run
    part: str  # RUN, or the name of an optional part, such as `dataset` or `trial.yaml`
    reason: str
    transient: bool = False  # the server may take it in a moment


class Progress:
    """The progress of one server, as a file beside the spool. Another experiment under the same address begins at position 0."""

    def __init__(self, folder: Path, uri: str) -> None:
        self.server = without_credentials(uri)
        self.file = folder / f"{hashlib.sha256(self.server.encode()).hexdigest()[:NAME_DIGITS]}.json"
        self.experiment: tuple[str, int] | None = None  # ID and creation time in milliseconds
        self.position = 0  # bytes of the spool
        self.aside: dict[tuple[str, str], Aside] = {}  # by fingerprint and part
        if self.file.exists():
            self._read()

    def _read(self) -> None:
        stored = parse_json(self.file.read_bytes(), str(self.file))
        self.server, self.position = stored["server"], stored["position"]
        self.experiment = None if stored["experiment"] is None else (stored["experiment"], stored["created"])
        for fields in stored["aside"]:
            self.set_aside(Aside(**fields))

    def write(self) -> None:
        """Replace the file."""
        self.file.parent.mkdir(exist_ok=True)
        number, created = self.experiment or (None, None)
        aside = [asdict(part) for part in self.aside.values()]
        content = {"server": self.server, "experiment": number, "created": created, "position": self.position, "aside": aside}
        write_atomically(self.file, json.dumps(content, indent=1))

    def meet(self, experiment: tuple[str, int]) -> None:
        """Note the experiment that the server has now. A new one has received nothing, so the position becomes 0."""
        if experiment != self.experiment:
            self.experiment, self.position = experiment, 0
            self.aside.clear()
            self.write()

    def set_aside(self, part: Aside) -> None:
        """Remember a part that did not arrive; `write` keeps it."""
        self.aside[part.fingerprint, part.part] = part

    def describe_aside(self, transient: bool) -> list[str]:
        """Each reason with its parts, such as `dataset of 2 runs, view of 1 run: HTTP 404 Not Found`.

        Args:
            transient: whether to describe the parts that wait for a busy server, or those that a server refused.
        """
        asides = [aside for aside in list(self.aside.values()) if aside.transient == transient]  # a thread may change `aside`
        counts = Counter(aside.part for aside in asides)
        first = {aside.part: aside.reason for aside in reversed(asides)}
        parts: dict[str, list[str]] = defaultdict(list)
        for part, count in counts.items():
            parts[first[part]].append(f"{part} of {count} run{'s' * (count > 1)}")
        return [f"{', '.join(named)}: {reason}" for reason, named in parts.items()]


def describe_tracking(spool: Path) -> list[str]:
    """Lines about what the last server that received events lacks of a spool; none without a spool."""
    events = spool / EVENTS
    if not events.exists():
        return []
    newest = max((spool / SERVERS).glob("*.json"), key=lambda file: file.stat().st_mtime, default=None)
    if newest is None:
        return ["no server has received anything yet"]
    progress = Progress(spool / SERVERS, str(parse_json(newest.read_bytes(), str(newest))["server"]))
    missing = events.stat().st_size - progress.position
    lines = [f"{progress.server} has not received {missing:,} bytes of the spool yet"] if missing > 0 else []
    lines += [f"{progress.server} has not received {aside}" for aside in progress.describe_aside(transient=True)]
    return lines + [f"{progress.server} refused {aside}" for aside in progress.describe_aside(transient=False)]


def without_credentials(uri: str) -> str:
    """A tracking URI without user, password and options: after a change of password it is still the same server."""
    address = uri.partition("?")[0]
    parts = urlsplit(address)
    if not parts.netloc:
        return address
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
