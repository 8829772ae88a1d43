"""Records of finished trials as Optuna's type; a study of a driver and that of a report are built from them."""

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from lightning_modules.outcome import Outcome
from sweeps.driver.distributions import build_distributions
from sweeps.spec.search import Search

STATES = {Outcome.COMPLETED: TrialState.COMPLETE, Outcome.PRUNED: TrialState.PRUNED, Outcome.FAILED: TrialState.FAIL}


def objective_values(search: Search, record: Mapping[str, Any]) -> list[float]:
    """The objectives of a completed trial."""
    return [float(record[objective.metric]) for objective in search.objectives]


def finished_trial(
    search: Search, record: Mapping[str, Any], attributes: dict[str, Any], values_by_step: dict[int, float] | None = None
) -> FrozenTrial:
    """A finished trial whose settings lie in the space of a search.

    Args:
        attributes: user attributes of the trial.
        values_by_step: the first objective during training.
    """
    completed = record["outcome"] == Outcome.COMPLETED
    return optuna.trial.create_trial(
        state=STATES[record["outcome"]],
        values=objective_values(search, record) if completed else None,
        params=search.drawn_values(record),
        distributions=build_distributions(search.space_at(record)),
        user_attrs=attributes | ({"reason": record["reason"]} if record.get("reason") else {}),
        intermediate_values=values_by_step,
        constraints={limit.text: limit.violation(dict(record)) for limit in search.limits} if completed else None,
    )
