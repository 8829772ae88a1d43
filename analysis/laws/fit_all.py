"""Every law on every group of a table."""

import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pandas as pd

import analysis.laws
from analysis.data.tables import Tables
from analysis.laws.fit import Fit
from analysis.laws.groups import Budgets, Group, groups_of, trials_with
from analysis.laws.law import Law, require_list
from analysis.laws.own_laws import own_laws
from analysis.laws.suggest_design import Suggestions
from analysis.statistics.interval import Interval
from lightning_modules.outcome import Outcome
from rrm.errors import UserError
from sweeps.design.reasons import Reason


def find_laws() -> list[Law]:
    """A law of each subclass of `Law` that has a name in the modules of this folder, by rank."""
    modules = [importlib.import_module(f"analysis.laws.{module.name}") for module in pkgutil.iter_modules(analysis.laws.__path__)]
    laws = [kind() for module in modules for kind in vars(module).values() if _is_law_of(kind, module.__name__)]
    return sorted(laws, key=lambda law: (law.rank, law.name))


def laws_of(tables: Tables) -> list[Law]:
    """The built-in laws, then those of installed packages and of the plug-in files of the sweeps.

    Raises:
        UserError: a file or a package cannot be imported, loads torch, holds something else, or has a law of a known name.
    """
    built_in = find_laws()
    return [*built_in, *own_laws(tables.law_files, built_in)]


def _is_law_of(kind: object, module: str) -> bool:
    """Whether a name of a module is a law that can be fitted, and not one that the module imports."""
    return isinstance(kind, type) and issubclass(kind, Law) and kind.__module__ == module and hasattr(kind, "name")


def fit_laws(tables: Tables, budgets: Budgets | None = None, laws: Sequence[Law] | None = None) -> list[Fit]:
    """Fits and refusals of every law that the table has columns for; pruned, failed and unfinished trials are not used.

    A search chooses its trials, so that no law is fitted on one.

    Args:
        budgets: FLOPs by cost (`inference_flops`, `train_flops`) to recommend a size and a recursion for.
        laws: all laws of `laws_of` where absent.

    Raises:
        UserError: a law returns something else than a list of fits.
    """
    if tables.kind != "measure":
        return []
    laws = laws_of(tables) if laws is None else laws
    suggestions = Suggestions(tables.specs, set(map(str, tables.trials.get("sweep", []))))
    fits = []
    for spans in dict.fromkeys(law.spans for law in laws):
        spanning = [law for law in laws if law.spans == spans]
        for group in groups_of(tables.completed, spans, tables.settings):
            failed = any_failed(tables.trials, group)
            for fit in _fit_group(replace(group, curves=tables.curves, budgets=budgets or {}), spanning):
                flags = fit.flags if not failed or "survivors_only" in fit.flags else (*fit.flags, "survivors_only")
                suggestion = None if fit.is_fitted else suggestions.suggest(group.trials, fit, failed=failed)
                fits.append(replace(fit, flags=flags, suggestion=suggestion))
    return fits


def _fit_group(group: Group, laws: Sequence[Law]) -> Iterator[Fit]:
    for law in laws:
        if group.has(law.needs):
            own = replace(group, trials=group.trials.copy())  # a law may change its table
            yield from map(_require_parts, require_list(law, "fit", law.fit(own), Fit))


def _require_parts(fit: Fit) -> Fit:
    """A fit, refused where a report could not state its reason or its estimates.

    Raises:
        UserError: the law gave it something else.
    """
    where, reason = f"law {fit.law}", fit.reason
    if reason is not None and not isinstance(reason, Reason):
        raise UserError(where, f"the reason of a fit must be one of analysis.Reason, got {reason!r}")
    for name, estimate in fit.estimates.items():
        if not isinstance(estimate, Interval):
            raise UserError(where, f"the estimate {name} of a fit must be an analysis.Interval, got {estimate!r}")
    return fit


def any_failed(trials: pd.DataFrame, group: Group) -> bool:
    """Whether trials with the settings of a group failed: a law then holds for the other trials alone."""
    return not trials_with(trials[trials["outcome"] == Outcome.FAILED], group.settings).empty
