"""Lines of a spool: each kind of event comes back as it was, and version 1 is read."""

import json
from pathlib import Path

import pytest

from lightning_modules.outcome import Outcome
from rrm.errors import UserError
from sweeps.store.json_lines import read_lines
from sweeps.tracking.events import (
    FORMAT,
    KINDS,
    BestChosen,
    CellChanged,
    Event,
    State,
    StateChanged,
    TrialBegun,
    TrialEnded,
    read_event,
    write_event,
)
from sweeps.tracking.spool import Spool
from tests.conftest import ROOT
from tests.sweeps.tracking.mlflow.test_writer import EVENTS

OLD_SPOOL = ROOT / "tests/fixtures/stores_e399d62/measure/spool/events.jsonl"
CASES = [
    *EVENTS,
    CellChanged(fingerprint="abc", attempt=2, cell="h16 n2"),
    BestChosen(fingerprints=["abc", "def"], attempts=[2, 1]),
]


def test_every_kind_of_event_comes_back_as_it_was_written() -> None:
    assert {event.kind for event in CASES} == set(KINDS)
    for event in CASES:
        line = json.dumps(write_event(event))
        assert json.loads(line)["format"] == FORMAT and read_event(json.loads(line), "events.jsonl") == event


def test_a_line_of_version_1_becomes_the_event_that_it_was() -> None:
    lines: list[tuple[dict[str, object], Event]] = [
        ({"kind": "state", "fingerprint": "a", "status": "SCHEDULED", "time": 1},
         StateChanged(fingerprint="a", state=State.WAITING, time=1)),
        ({"kind": "state", "status": "KILLED", "time": 1}, StateChanged(state=State.STOPPED, time=1)),
        ({"attempt": 2, "kind": "end", "fingerprint": "a", "status": "KILLED", "time": 1, "tags": {"outcome": "pruned"}},
         TrialEnded(fingerprint="a", attempt=2, outcome=Outcome.PRUNED, time=1, tags={"outcome": "pruned"})),
        ({"kind": "cell", "fingerprint": "a", "status": "h16", "tags": {"cell": "h16"}}, CellChanged(fingerprint="a", cell="h16")),
        ({"kind": "models", "fingerprints": ["a", "b"], "status": "a b#2"}, BestChosen(fingerprints=["a", "b"], attempts=[1, 2])),
    ]  # fmt: skip
    for fields, event in lines:
        assert read_event(fields, "events.jsonl") == event


def test_a_spool_of_version_1_is_continued_without_repeats(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(OLD_SPOOL.read_bytes())
    spool = Spool(tmp_path)
    events = list(spool.events())
    assert len(events) == len(list(read_lines(OLD_SPOOL)))
    assert len([event for event in events if isinstance(event, TrialEnded)]) == 3
    begun = next(event for event in events if isinstance(event, TrialBegun))
    assert begun.tags["user"] == "user" and not any(name.startswith("mlflow.") for name in begun.tags)
    for event in events:
        if isinstance(event, TrialEnded) or event.kind == "sweep":
            spool.add_once(event)
    assert spool.events_file.read_bytes() == OLD_SPOOL.read_bytes()
    spool.add_once(StateChanged(state=State.STOPPED, time=1))
    assert json.loads(spool.events_file.read_bytes().splitlines()[-1])["format"] == FORMAT
    assert [event.kind for event in Spool(tmp_path).events()] == [*(event.kind for event in events), "state"]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"format": FORMAT + 1, "kind": "state"}, "install a newer rrm-sweeps"),
        ({"format": FORMAT, "kind": "other"}, "is damaged"),
        ({"kind": "state", "status": "UNKNOWN", "time": 1}, "is damaged"),
        ({"format": FORMAT, "kind": "end", "fingerprint": "a"}, "is damaged"),
    ],
)
def test_a_line_that_cannot_be_read_is_refused_with_its_file(fields: dict, problem: str) -> None:
    with pytest.raises(UserError) as error:
        read_event(fields, "runs/tiny/spool/events.jsonl")
    assert str(error.value).startswith("runs/tiny/spool/events.jsonl: ") and problem in str(error.value)
    assert "\n" not in str(error.value)
