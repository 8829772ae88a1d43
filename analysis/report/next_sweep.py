"""What to run next: one spec, the question that it answers, and its cost (docs/report.md, "What to run next")."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.tables import Tables
from analysis.laws.axis_rates import value_name
from analysis.laws.fit import Fit
from analysis.laws.groups import trials_with
from analysis.laws.headline import Headline
from analysis.laws.recurrence import Recurrence
from analysis.laws.sentence import capitalize, name_place
from analysis.laws.suggest_design import LONGER, Suggestions
from analysis.report.around_best import best_trial, measure_around
from analysis.statistics.confirmation import Confirmed
from analysis.statistics.interval import Interval
from lightning_modules.config import TrialConfig
from lightning_modules.outcome import Outcome
from lightning_modules.yaml_file import parse_yaml
from rrm.errors import UserError
from sweeps.design.axes import AMOUNT, AXIS_SETTINGS, LAYERS, RECURSION
from sweeps.design.axis_rates import RATE_AXES
from sweeps.design.reasons import Reason
from sweeps.design.short_names import axis_name, count_of
from sweeps.design.thresholds import FLOOR
from sweeps.spec.load_spec import parse_stored_spec

UNIT = "fit.budget.unit"
MIN_CLEARER, MAX_CLEARER = 2, 4  # factors by which seeds are raised where an interval includes 1


@dataclass(frozen=True)
class NextSweep:
    """A suggestion with what it costs."""

    reason: str
    spec: str  # YAML
    cost: str


def plan_next_sweep(
    tables: Tables,
    fits: Sequence[Fit],
    headlines: Sequence[Headline],
    confirmed: Sequence[Confirmed] = (),
    accuracies: Sequence[float] = (),
) -> NextSweep | None:
    """The most useful sweep after this one; None where no spec is known, or nothing can be added.

    After a fitted recurrence law come more seeds (its rate could still be 1, or size has no clear slope), then one more doubling
    of recursion (the last one still helped), then twice the budget. After a refused one comes the design that would identify it;
    no design does where the law does not describe the trials. Where no cell has learned the task, longer training comes first.
    After a search comes the measure sweep around its best setting.

    Args:
        confirmed: settings of the confirm stage of a search, the best first.
        accuracies: exact accuracy of each cell on test; empty where it is not known.
    """
    if tables.kind == "search":
        return _after_search(tables, confirmed)
    is_at_floor = len(accuracies) > 0 and max(accuracies) < FLOOR  # no effect can show
    if is_at_floor and tables.specs and not any(headline.rates for headline in headlines):
        return _after_the_floor(tables)
    with_fit = sorted((headline for headline in headlines if headline.fit is not None), key=lambda headline: not headline.rates)
    refused = [fit for fit in fits if isinstance(fit.fitted_by, Recurrence) and fit.suggestion and fit.reason != Reason.LACK_OF_FIT]
    if with_fit and tables.specs:
        reason, text = _after(tables, with_fit[0])
    elif refused:
        reason, text = _explain(refused[0]), refused[0].suggestion
    else:
        return None
    return NextSweep(reason, text, _cost(tables, text)) if text is not None else None


def _after_the_floor(tables: Tables) -> NextSweep | None:
    text = Suggestions(tables.specs, set(map(str, tables.trials["sweep"]))).longer(tables.completed, LONGER)
    if text is None:
        return None
    reason = f"All cells lie below {100 * FLOOR:.0f} % exact accuracy"
    question = f"{reason}: the same design at {LONGER} times the budget shows whether they learn."
    return NextSweep(question, text, _cost(tables, text))


def _after_search(tables: Tables, confirmed: Sequence[Confirmed]) -> NextSweep | None:
    best = best_trial(tables, confirmed)
    text = None if best is None else measure_around(tables, best)
    if text is None:
        return None
    axes = list(parse_yaml(text, "the next sweep")["measure"]["vary"])
    question = f"What do other values of {' and '.join(map(axis_name, axes))} bring around the best setting of the search?"
    return NextSweep(f"{question} All else is fixed, and the seeds are new.", text, _cost(tables, text))


def _explain(fit: Fit) -> str:
    assert fit.reason is not None
    return f"The {fit.law} law is not fitted: {fit.reason.sentence}. This design would identify it."


def _after(tables: Tables, headline: Headline) -> tuple[str, str | None]:
    """The question that a headline leaves open, and the spec that answers it, for the trials of its group."""
    assert headline.fit is not None
    suggestions = Suggestions(tables.specs, set(map(str, tables.trials["sweep"])))
    trials, place = trials_with(tables.completed, headline.fit.group), name_place(headline.fit)
    if not headline.rates:
        reason = f"{place}the loss does not fall clearly with parameters: twice the seeds would show whether it does."
        return capitalize(reason), suggestions.more_seeds(trials, MIN_CLEARER)
    rates = {axis: headline.rates[word] for axis, word in RATE_AXES.items() if word in headline.rates}
    unclear = {axis: rate for axis, rate in rates.items() if rate.low < 1 < rate.high}
    if unclear:
        names = " and ".join("recursion" if axis == RECURSION else value_name(axis) for axis in unclear)
        text = suggestions.more_seeds(trials, max(map(_seeds_factor, unclear.values())))
        return capitalize(f"{place}the 95 % CI of the rate along {names} includes 1: more seeds would narrow it."), text
    helping = {
        axis: rate.estimate
        for axis, rate in rates.items()
        if axis != LAYERS and rate.estimate > 1 and RATE_AXES[axis] not in headline.ended
    }
    if helping:
        axis = max(helping, key=lambda axis: helping[axis])
        text = suggestions.more_recursion(trials, None if axis == RECURSION else axis)
        if text is not None:
            return capitalize(f"{place}{_why_more_recursion(headline)}"), text
    question = f"{place}does this hold with longer training? The same design at twice the budget answers that."
    return capitalize(question), suggestions.longer(trials)


def _why_more_recursion(headline: Headline) -> str:
    if headline.is_cost_open:
        reason = "the largest recursion still helps, and at equal FLOPs neither width nor recursion is clearly better"
        return f"{reason}: one more doubling would show where that ends, and narrows the interval at equal FLOPs."
    return "the largest recursion still helps: one more doubling would show where that ends."


def _seeds_factor(rate: Interval) -> int:
    """By how much seeds have to grow for an interval that leaves out 1, if the estimate is right: its width falls as their root."""
    half, distance = (math.log(rate.high) - math.log(rate.low)) / 2, abs(math.log(rate.estimate))
    wanted = math.ceil((half / distance) ** 2) if distance else MAX_CLEARER
    return min(max(wanted, MIN_CLEARER), MAX_CLEARER)


# -- its cost -----------------------------------------------------------------------------------------------------


def _cost(tables: Tables, text: str) -> str:
    """`It adds 12 trials: about 9 minutes of one worker, by the times of finished trials.`"""
    try:
        spec = parse_stored_spec(text, "the next sweep", {})
    except UserError:
        return ""
    finished = set(tables.trials.loc[_has_ended(tables.trials), "fingerprint"])
    added = [trial for trial in spec.design if trial.fingerprint not in finished]
    kept = len(spec.design) - len(added)
    count = f"It adds {count_of(len(added), 'trial')}{f' to {kept} that have ended' if kept else ''}"
    seconds = _predict_seconds(tables.completed, added)
    return (
        f"{count}." if seconds is None else f"{count}: about {_duration(seconds)} of one worker, by the times of finished trials."
    )


def _has_ended(trials: pd.DataFrame) -> pd.Series:
    """Which trials a run of the sweep leaves as they are: completed, pruned and failed ones, and none whose process died."""
    is_lost = trials["retryable"].eq(True) if "retryable" in trials else pd.Series(False, trials.index)
    return trials["outcome"].isin(list(Outcome)) & ~is_lost


def _predict_seconds(completed: pd.DataFrame, added: list[TrialConfig]) -> float | None:
    """Sum of predicted times: log seconds is linear in the logs of axes and budget; None where no time is known."""
    names = [name for name in (*AXIS_SETTINGS, AMOUNT) if name in completed]
    known = completed[completed["wall_seconds"] > 0] if "wall_seconds" in completed else completed[:0]
    if known.empty or not names or not added:
        return None
    features = _features([known[name].tolist() for name in names])
    coefficients, *_ = np.linalg.lstsq(features, np.log(known["wall_seconds"].to_numpy(dtype=float)), rcond=None)
    flat = [trial.flat() for trial in added]
    if UNIT in known and {settings[UNIT] for settings in flat} != set(known[UNIT]):
        return None  # amounts of two units do not compare
    wanted = _features([[settings.get(name) for settings in flat] for name in names])
    # An axis that no finished trial varies has no slope: time grows in proportion.
    constant = np.ptp(features, axis=0) == 0
    constant[0] = False
    grown = (wanted - features.mean(axis=0))[:, constant].sum(axis=1)
    predicted = np.where(constant, features.mean(axis=0), wanted) @ coefficients + grown
    return float(np.exp(predicted).sum())


def _features(columns: list[list[Any]]) -> np.ndarray:
    """Ones, then the log of each column, [trials, 1 + columns]; an absent value and 0 count as 1."""
    logs = [[math.log(float(value)) if value and value == value else 0.0 for value in column] for column in columns]
    return np.column_stack([np.ones(len(logs[0])), *logs])


def _duration(seconds: float) -> str:
    for unit, length in (("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
