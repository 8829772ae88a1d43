"""How many trials a sweep still lacks."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lightning_modules.columns import CONFIRM
from lightning_modules.record import Record
from lightning_modules.yaml_file import write_yaml
from rrm.errors import UserError
from sweeps.planning.space_size import count_missing_trials
from sweeps.spec.load_spec import parse_stored_spec
from sweeps.spec.sweep import SweepSpec
from sweeps.store.store import Store


@dataclass(frozen=True)
class Unfinished:
    """A sweep that has not ended."""

    sweep: str
    missing: int  # trials without a result
    asked: int  # trials that the spec asks for, the confirm stage of a search included
    is_running: bool  # whether a driver runs the sweep now

    def __str__(self) -> str:
        verb = "is" if self.missing == 1 else "are"
        state = "the sweep is running" if self.is_running else "no driver runs the sweep"
        return f"{self.missing} of {self.asked} trials {verb} missing: {state}"


def find_unfinished(store: Store, sections: Mapping[str, Any], results: Mapping[str, Record]) -> Unfinished | None:
    """What a sweep lacks; None for one that has ended, and where the spec cannot be read.

    Args:
        sections: the stored spec.
        results: every finished trial by fingerprint.
    """
    design = store.design()
    asked, missing = (len(design), len(set(design) - results.keys())) if design else _missing_of_search(sections, results)
    name = store.location.rstrip("/").rpartition("/")[2]
    return Unfinished(name, missing, asked, store.holder() is not None) if missing else None


def _missing_of_search(sections: Mapping[str, Any], results: Mapping[str, Record]) -> tuple[int, int]:
    """Trials that a search asks for, and how many of them it lacks; a space may hold fewer trials than the search asks for."""
    if "search" not in sections:
        return 0, 0
    try:
        spec = parse_stored_spec(write_yaml(dict(sections)), "spec.yaml", {})
        searched = [record for record in results.values() if record.get("stage") != CONFIRM]
        asked = _asked_of(spec, len(searched))
    except UserError:
        return 0, 0
    assert spec.search is not None
    confirm, repeated = spec.search.confirm, len(results) - len(searched)
    if confirm is None:
        return asked, max(0, asked - len(searched))
    top = confirm.top if len(searched) < asked else len(spec.search.best(searched, confirm.top))
    repeats = top * confirm.seeds
    return asked + repeats, max(0, asked - len(searched)) + max(0, repeats - repeated)


def _asked_of(spec: SweepSpec, searched: int) -> int:
    assert spec.search is not None
    asked = spec.search.num_trials
    return asked if searched >= asked else asked - count_missing_trials(spec)


def describe_unfinished(sweeps: Iterable[Unfinished], count: int) -> str:
    """`12 of 48 trials are missing: the sweep is running.`; empty where all have ended.

    Args:
        count: sweeps in the table; with several, each is named.
    """
    parts = [f"{one.sweep}: {one}" if count > 1 else str(one) for one in sweeps]
    return f"{'; '.join(parts)}. What follows is about finished trials alone." if parts else ""
