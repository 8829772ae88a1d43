"""Trials of other sweeps that a measure sweep takes over (`measure.reuse`)."""

from collections.abc import Collection
from typing import NamedTuple

from lightning_modules.outcome import Outcome
from lightning_modules.record import Record
from rrm.errors import UserError
from sweeps.spec.sweep import SweepSpec
from sweeps.store.store import Store
from sweeps.store.stored_trials import read_intact_config


class Reusable(NamedTuple):
    """A completed trial of another sweep."""

    store: Store
    record: Record  # with `curves`


def find_reusable(spec: SweepSpec, finished: Collection[str] = ()) -> dict[str, Reusable]:
    """The completed trials of other sweeps with fingerprints of this design, by fingerprint; the first sweep that has one counts.

    Args:
        finished: fingerprints of trials that this sweep has already.

    Raises:
        UserError: a sweep is absent, is this one, or is a search, whose pruned trials have no counterpart in a design; or the
            file of a trial was edited. No sweep is looked at where nothing is missing.
    """
    asked = {trial.fingerprint for trial in spec.design} - set(finished)
    if spec.measure is None or not asked:
        return {}
    found: dict[str, Reusable] = {}
    for number, name in enumerate(spec.measure.reuse):
        store = _open(name, spec, f"measure.reuse.{number}")
        for fingerprint, record in store.results().items():
            if fingerprint in asked and fingerprint not in found and record["outcome"] == Outcome.COMPLETED:
                read_intact_config(store, fingerprint)
                found[fingerprint] = Reusable(store, record)
    return found


def _open(name: str, spec: SweepSpec, where: str) -> Store:
    """The store of a sweep that was run."""
    store = Store(spec.location_of(name))
    if store.location == Store(spec.location).location:
        raise UserError(where, f"must name other sweeps, got {name!r}, this one")
    if store.spec() is None:
        raise UserError(where, f"must name a sweep that was run, got {name!r}: {store.location} holds none")
    if not store.design():
        raise UserError(where, f"must name measure sweeps, got the search {name!r}")
    return store
