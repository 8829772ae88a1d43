"""Completed trials from whose weights other trials are scored: those that differ in how they are scored alone."""

from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from lightning_modules.config import TrialConfig
from lightning_modules.outcome import Outcome
from lightning_modules.trial_folder import WEIGHTS
from rrm.errors import UserError
from sweeps.planning.finished import Records
from sweeps.store.store import Store
from sweeps.store.stored_trials import read_config


class Donor(NamedTuple):
    """A completed trial that was trained as another one would be."""

    fingerprint: str
    has_weights: bool


class Donors:
    """The completed trials of a store, by what they trained. The files of the store are read with the first question."""

    def __init__(self, store: Store, results: Records) -> None:
        """
        Args:
            results: the finished trials of the store, also those that the spec does not ask for any more.
        """
        self.store = store
        completed = [name for name, record in results.items() if record["outcome"] == Outcome.COMPLETED]
        self._completed = sorted(completed, key=lambda name: ("scored_from" in results[name], name))  # trained ones first
        self._known: dict[str, list[Donor]] | None = None  # by training fingerprint

    def find(self, config: TrialConfig) -> Donor | None:
        """The donor of a trial, one with weights if there is one; None where no completed trial was trained in the same way."""
        if self._known is None:
            self._known = self._read()
        donors = self._known.get(config.training_fingerprint, [])
        return next((donor for donor in donors if donor.has_weights), next(iter(donors), None))

    def add(self, config: TrialConfig) -> None:
        """A trial has completed, and its weights are in the store."""
        if self._known is not None:
            self._known.setdefault(config.training_fingerprint, []).append(Donor(config.fingerprint, has_weights=True))

    def _read(self) -> dict[str, list[Donor]]:
        """The donors by the training fingerprints of their configs: records of earlier versions hold none, or another one."""
        known: dict[str, list[Donor]] = {}
        holders = self.store.holders(WEIGHTS) if self._completed else set()
        for name in self._completed:
            with suppress(UserError):  # a damaged file of a trial that the spec may not ask for
                config = read_config(self.store, name)
                if config.fingerprint == name:
                    known.setdefault(config.training_fingerprint, []).append(Donor(name, name in holders))
        return known


class Remaining(NamedTuple):
    """Trials of a measure sweep that are left to run, by what is done with them."""

    trained: list[TrialConfig]
    scored: list[TrialConfig]  # from the weights of finished trials, or of one in `trained`
    missing: list[Donor]  # donors without weights of trials in `trained`


def sort_remaining(left: Iterable[TrialConfig], donors: Donors) -> Remaining:
    """What is done with each trial that is left. Of trials that differ in their scoring alone the first is trained."""
    remaining, begun = Remaining([], [], []), set[str]()
    for config in left:
        donor = donors.find(config)
        if config.training_fingerprint in begun or (donor is not None and donor.has_weights):
            remaining.scored.append(config)
            continue
        begun.add(config.training_fingerprint)
        remaining.trained.append(config)
        if donor is not None:
            remaining.missing.append(donor)
    return remaining
