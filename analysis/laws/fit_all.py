"""Every law on every group of a table."""

from collections.abc import Callable, Iterator

import pandas as pd

from analysis.data.tables import Tables
from analysis.laws.compute_optimal import Budgets, fit_compute_optimal
from analysis.laws.fit import Fit
from analysis.laws.groups import Group, groups_of
from analysis.laws.inference_depth import fit_test_time
from analysis.laws.iso_flop import fit_iso_flop
from analysis.laws.power import fit_log_depth, fit_power
from analysis.laws.recurrence import fit_recurrence
from analysis.laws.required_depth import fit_required_depth
from analysis.laws.suggest_design import Suggestions
from lightning_modules.outcome import Outcome

BUDGET = ("fit.budget.amount",)  # iso-FLOP spans sweeps of several budgets
LAWS: list[Callable[[Group, pd.DataFrame], list[Fit]]] = [
    lambda group, curves: fit_power(group, "power_params"),
    lambda group, curves: fit_power(group, "power_depth"),
    lambda group, curves: fit_log_depth(group),
    fit_test_time,
    fit_required_depth,
]


def fit_laws(tables: Tables, budgets: Budgets | None = None) -> list[Fit]:
    """Fits and refusals of every law that the table has columns for; pruned, failed and unfinished trials are not used.

    A search chooses its trials, so that no law is fitted on one.

    Args:
        budgets: FLOPs by cost (`inference_flops`, `train_flops`) to recommend a size and a recursion for.
    """
    if tables.kind != "measure":
        return []
    found = [(group, _fit_group(group, tables.curves, budgets)) for group in groups_of(tables.completed, (), tables.settings)]
    found += [(group, iter(fit_iso_flop(group))) for group in groups_of(tables.completed, BUDGET, tables.settings)]
    suggestions = Suggestions(tables.specs, set(map(str, tables.trials.get("sweep", []))))
    fits = []
    for group, fits_of_group in found:
        lost = survivors(tables.trials, group)
        for fit in fits_of_group:
            if lost and "survivors_only" not in fit.flags:
                fit.flags.append("survivors_only")
            if not fit.is_fitted:
                fit.suggestion = suggestions.suggest(group.trials, fit, lost)
            fits.append(fit)
    return fits


def _fit_group(group: Group, curves: pd.DataFrame, budgets: Budgets | None) -> Iterator[Fit]:
    recurrence = fit_recurrence(group)
    yield from recurrence
    for law in LAWS:
        yield from law(group, curves)
    if recurrence:
        yield from fit_compute_optimal(group, recurrence[0].reason, budgets)


def survivors(trials: pd.DataFrame, group: Group) -> bool:
    """Whether trials like those of the group failed: a law is conditional on those that did not."""
    failed = trials[trials["outcome"] == Outcome.FAILED]
    shared = [name for name in group.settings if name in failed]
    return bool((failed[shared].astype(str) == pd.Series({name: str(group.settings[name]) for name in shared})).all(axis=1).any())
