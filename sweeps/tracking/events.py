"""Events of a sweep: what a spool holds, one a line, and what a tracker receives.

A line states the version of its format; one without it has version 1 (`events_version_1`). A later version is refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, TypedDict

from lightning_modules.outcome import Outcome
from rrm.errors import UserError
from rrm.format_version import check_format
from sweeps.tracking.events_version_1 import upgrade

ENDING_TAGS = ("outcome", "reason", "data_fingerprint", "stage", "device", "scored_from")  # tags that `TrialEnded` can bring
FORMAT = 2  # version of a line that this program writes


class State(StrEnum):
    """The state of a sweep, or of a trial that has not ended."""

    RUNNING = "running"
    WAITING = "waiting"  # an interrupted trial: the next driver continues it
    FINISHED = "finished"  # the sweep is what its spec asks for
    STOPPED = "stopped"  # the driver of an unfinished sweep has ended


class Point(TypedDict):
    """A value of a metric."""

    metric: str
    at: int  # step, or depth for a curve over the depth
    value: float
    time: int  # milliseconds since 1970


class Objective(TypedDict):
    """The metric that chooses the best trial."""

    metric: str
    goal: str  # minimize or maximize


class DataFacts(TypedDict):
    """The data that a trial was trained and scored on."""

    name: str
    digest: str
    source: dict[str, Any]  # the task's settings, which generate the same rows again
    profile: dict[str, int]  # counts of examples, tokens and vocabulary


@dataclass(frozen=True, kw_only=True)
class Event:
    """What happened to a trial, or to the sweep where the fingerprint is empty. Times are milliseconds since 1970."""

    kind: ClassVar[str]  # name in a file
    fingerprint: str = ""
    attempt: int = 1  # 2 for the second time that a trial begins at step 0

    @property
    def slot(self) -> str:
        """Events of one slot and trial replace each other."""
        return self.kind

    @property
    def content(self) -> str | None:
        """A text that differs from that of the last event of the slot if this event is new."""
        return None


@dataclass(frozen=True, kw_only=True)
class SweepBegun(Event):
    """A driver runs the sweep with this spec."""

    kind: ClassVar[str] = "sweep"
    time: int
    spec: str  # YAML, as the store holds it
    digest: str  # SHA-256 of the spec
    sweep_kind: str  # search or measure
    axes: list[str]  # dotted paths of what differs between trials
    objective: Objective
    tags: dict[str, str]
    diff: str  # changes in tracked files of the code, as git prints them

    @property
    def content(self) -> str:
        return self.digest


@dataclass(frozen=True, kw_only=True)
class StateChanged(Event):
    """A sweep or a trial that has not ended goes on, waits or stops."""

    kind: ClassVar[str] = "state"
    time: int
    state: State

    @property
    def slot(self) -> str:
        return "standing"

    @property
    def content(self) -> str:
        return f"{self.kind} {self.state}"


@dataclass(frozen=True, kw_only=True)
class TrialBegun(Event):
    """A trial begins at step 0."""

    kind: ClassVar[str] = "start"
    time: int
    name: str
    params: Mapping[str, Any]  # resolved fields by dotted path
    metrics: Mapping[str, float]  # costs, which follow from the fields
    tags: Mapping[str, str]
    trial: str  # the resolved trial as YAML


@dataclass(frozen=True, kw_only=True)
class CellChanged(Event):
    """A trial belongs to another cell, because the axes of the sweep changed."""

    kind: ClassVar[str] = "cell"
    cell: str

    @property
    def content(self) -> str:
        return self.cell


@dataclass(frozen=True, kw_only=True)
class PointsMeasured(Event):
    """A running trial has further points of its curves."""

    kind: ClassVar[str] = "points"
    points: Sequence[Point]


@dataclass(frozen=True, kw_only=True)
class TrialEnded(Event):
    """A trial has ended, with its scores and its curves over the depth."""

    kind: ClassVar[str] = "end"
    time: int
    outcome: Outcome
    tags: Mapping[str, str]
    dataset: DataFacts | None = None  # None where the trial failed before it read data
    files: Sequence[str] = field(default=())  # names in the trial's folder
    points: Sequence[Point] = field(default=())

    @property
    def slot(self) -> str:
        return "standing"

    @property
    def content(self) -> str:
        return f"{self.kind} {self.outcome}"


@dataclass(frozen=True, kw_only=True)
class CurvesReady(Event):
    """A driver ends: the points of all curves so far can be written as one file."""

    kind: ClassVar[str] = "curves"
    num_events: int  # events with points so far

    @property
    def content(self) -> str:
        return str(self.num_events)


@dataclass(frozen=True, kw_only=True)
class BestChosen(Event):
    """The sweep is finished, and these are its best trials."""

    kind: ClassVar[str] = "models"
    fingerprints: list[str]  # the best first
    attempts: list[int]  # one per fingerprint

    @property
    def content(self) -> str:
        return " ".join(f"{name}#{attempt}" for name, attempt in zip(self.fingerprints, self.attempts, strict=True))


KINDS: dict[str, type[Event]] = {
    case.kind: case
    for case in (SweepBegun, StateChanged, TrialBegun, CellChanged, PointsMeasured, TrialEnded, CurvesReady, BestChosen)
}


def points_of(event: Event) -> Sequence[Point]:
    """The points that an event brings; none for most kinds."""
    return event.points if isinstance(event, PointsMeasured | TrialEnded) else ()


def write_event(event: Event) -> dict[str, Any]:
    """An event as the JSON object of its line."""
    return {"format": FORMAT, "kind": event.kind, **vars(event)}


def read_event(fields: Any, where: str) -> Event:
    """The event of a line.

    Args:
        where: the file, for errors.

    Raises:
        UserError: the line has a later format, or is no event.
    """
    if not isinstance(fields, dict):
        raise UserError(where, f"is damaged (a line is no event: {fields!r}): restore or remove it")
    version = check_format(fields.pop("format", None), FORMAT, where)
    try:
        values = upgrade(fields) if version == 1 else fields
        case = KINDS[values.pop("kind")]
        if case is TrialEnded:
            values["outcome"] = Outcome(values["outcome"])
        elif case is StateChanged:
            values["state"] = State(values["state"])
        return case(**values)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(where, f"is damaged ({type(error).__name__}: {error}): restore or remove it") from None
