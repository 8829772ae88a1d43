"""Messages between the driver and a worker: the job that a worker gets, and how its trial ended.

Ray Tune carries a job as the config of its trial, and an ending as JSON text, because Tune flattens nested results.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from lightning_modules.outcome import Outcome
from lightning_modules.record import FitResult

ROW, ENDING = "row", "ending"  # keys of a report to Tune; the values are JSON text
PROCESS_LOST = "its process was lost"


@dataclass(frozen=True)
class Job:
    """The driver requests one trial from a worker."""

    fingerprint: str
    store: str  # location of the sweep's store
    session: str  # random name of the driver's process
    driver: dict[str, str] | None  # facts that the node must share with the driver; None where all runs on one machine
    asked: dict[str, float]  # resources by Ray's names: `CPU`, `GPU`, `memory` in bytes
    refused: list[str]  # ids of nodes that get no trials
    max_retries: int
    timeout_minutes: float | None  # limit of this attempt
    donor: str | None  # fingerprint of a completed trial from whose weights this one is scored; None where it is trained
    system_metrics: bool  # whether rows have the load and memory of the machine

    def to_config(self) -> dict[str, Any]:
        """The config of Tune's trial."""
        return asdict(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The job in the config of Tune's trial, to which Tune may have added keys."""
        return cls(**{field.name: config[field.name] for field in fields(cls)})


class Completed(FitResult):
    """The trial was scored, with weights that have trained for its whole budget."""


class Failed(FitResult):
    """The trial itself failed, and no retry would help. The record has the reason."""


@dataclass(frozen=True)
class Pruned:
    """The scheduler stopped the trial. The worker sends no record: the driver makes it from the rows."""


@dataclass(frozen=True)
class Lost:
    """The trial ended through no fault of its own; a later run of the driver may retry it."""

    reason: str
    losses: int | None = None  # attempts that were lost so far, this one included; None where the driver must count them


@dataclass(frozen=True)
class NodeRefused:
    """The node cannot run trials of this driver, and the trial has not begun."""

    node: str  # Ray's id
    address: str
    reason: str


TrialEnding = Completed | Pruned | Failed | Lost
Ending = TrialEnding | NodeRefused
CASES: dict[str, type[Ending]] = {case.__name__: case for case in (Completed, Pruned, Failed, Lost, NodeRefused)}


def ending_of(result: FitResult) -> TrialEnding:
    """The ending of a trial that ran to the end of `fit`."""
    outcome = result.record["outcome"]
    if outcome == Outcome.PRUNED:
        return Pruned()
    return (Completed if outcome == Outcome.COMPLETED else Failed)(result.record, result.curves)


def write_ending(ending: Ending) -> str:
    """JSON text for `read_ending`."""
    return json.dumps({"case": type(ending).__name__, **vars(ending)})


def read_ending(text: str) -> Ending:
    content = json.loads(text)
    return CASES[content.pop("case")](**content)
