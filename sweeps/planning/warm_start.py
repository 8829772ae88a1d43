"""The warm start of a search: completed trials of other sweeps."""

from typing import Any

from lightning_modules.outcome import Outcome
from rrm.errors import UserError
from sweeps.spec.sweep import SweepSpec
from sweeps.store.store import Store


def warm_results(spec: SweepSpec) -> dict[str, dict[str, Any]]:
    """Records of completed trials of the sweeps that a search starts from, by fingerprint.

    Raises:
        UserError: one of them is this sweep itself, or has no completed trials.
    """
    results: dict[str, dict[str, Any]] = {}
    this_location = Store(spec.location).location
    for number, name in enumerate(spec.search.warm_start if spec.search else []):
        store, where = Store(spec.location_of(name)), f"search.warm_start.{number}"
        if store.location == this_location:
            raise UserError(where, f"must name other sweeps, got {name!r}, this one")
        asked = set(store.design())  # empty for a search; a sweep that was scored anew has earlier scorings beside it
        records = {key: record for key, record in store.results().items() if not asked or key in asked}
        completed = {key: record for key, record in records.items() if record["outcome"] == Outcome.COMPLETED}
        if not completed:
            raise UserError(where, f"has no completed trials: {store.location}")
        results |= completed
    return results
