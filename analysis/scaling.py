"""Every law on every group of a table."""

from collections.abc import Callable

import pandas as pd

from analysis.fits import Fit
from analysis.groups import Group, groups_of
from analysis.laws.iso_flop import fit_iso_flop
from analysis.laws.power import fit_log_depth, fit_power
from analysis.laws.recurrence import fit_recurrence
from analysis.laws.required_depth import fit_required_depth
from analysis.laws.test_time import fit_test_time
from analysis.tables import Tables

LAWS: dict[str, Callable[[Group, pd.DataFrame], list[Fit]]] = {
    "recurrence": lambda group, curves: fit_recurrence(group),
    "power_params": lambda group, curves: fit_power(group, "power_params"),
    "power_depth": lambda group, curves: fit_power(group, "power_depth"),
    "log_depth": lambda group, curves: fit_log_depth(group),
    "iso_flop": lambda group, curves: fit_iso_flop(group),
    "test_time": fit_test_time,
    "required_depth": fit_required_depth,
}


def fit_laws(tables: Tables) -> list[Fit]:
    """Fits and refusals of every law that the table has columns for; pruned, failed and unfinished trials are not used.

    A search chooses its trials, so that no law is fitted on one.
    """
    if tables.kind != "measure":
        return []
    fits = []
    for group in groups_of(tables.completed):
        lost = survivors(tables.trials, group)
        for fit in (fit for law in LAWS.values() for fit in law(group, tables.curves)):
            if lost:
                fit.flags.append("survivors_only")
            fits.append(fit)
    return fits


def survivors(trials: pd.DataFrame, group: Group) -> bool:
    """Whether trials like those of the group failed: a law is conditional on those that did not."""
    failed = trials[trials["outcome"] == "failed"]
    shared = [name for name in group.settings if name in failed]
    return bool((failed[shared].astype(str) == pd.Series({name: str(group.settings[name]) for name in shared})).all(axis=1).any())
