"""A suggestion for a refusal: the smallest design around a sweep that would identify the law, as a spec ready to run.

A suggestion is the spec of the sweep itself with more levels or seeds. Under the name of the sweep it contains every finished
trial, and `rrm-sweep run` adds what is missing. It has another name where the budget of all trials changes.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import pandas as pd

from analysis.laws.draft import Draft, Parent, is_valid, round_amount
from analysis.laws.fit import Fit
from analysis.laws.sketch import sketch
from lightning_modules.yaml_file import write_yaml
from rrm.errors import UserError
from sweeps.design.axes import AMOUNT, AXIS_SETTINGS
from sweeps.design.reasons import Reason
from sweeps.design.thresholds import MIN_SEEDS
from sweeps.spec.load_spec import parse_stored_spec

SEEDS = 3
LONGER, SHORTER = 4, 0.25  # factors of the budget, for trials at the floor and at the ceiling
AT_AN_END = {Reason.FLOOR: ("longer", LONGER), Reason.CEILING: ("shorter", SHORTER)}


class Suggestions:
    """Suggestions for the refusals of one table."""

    def __init__(self, specs: Sequence[dict[str, Any]], sweeps: Collection[str]) -> None:
        """`specs` are stored specs of the sweeps in the table, `sweeps` their names, which no new sweep may have."""
        self.parents = [parent for sections in specs if (parent := _read_parent(sections)) is not None]
        self.taken = set(sweeps)

    def suggest(self, trials: pd.DataFrame, fit: Fit, *, failed: bool) -> str | None:
        """The spec of a design that is not refused for the reason of this fit.

        None where no design of this model and task would do: a one-pass model has no recursion, and some models ignore D.

        Args:
            trials: those of the group that was refused.
            failed: whether trials of the group failed.
        """
        if fit.reason == Reason.FLAT:
            return None
        parent = self._parent_of(trials)
        if parent is None:
            parent = Parent(sketch(trials, max(SEEDS, fit.seeds)), is_ours=False)
        text = self._draft(parent, trials, fit, failed=failed, tied=True)
        if text is None and parent.spec.ties:
            text = self._draft(parent, trials, fit, failed=failed, tied=False)
        return text

    def more_seeds(self, trials: pd.DataFrame, factor: int) -> str | None:
        """The sweep of these trials with more seeds; None where no spec has them."""
        return self._extend(trials, lambda draft: draft.share("measure.seeds", factor * draft.parent.measure.seeds))

    def more_recursion(self, trials: pd.DataFrame, axis: str | None) -> str | None:
        """The sweep of these trials with one more doubling of an axis of recursion; None takes the axis that varies most."""

        def grow(draft: Draft) -> None:
            path = axis or draft.recursion_axis()
            if path is not None:
                draft.cross(path, draft.grow(path, len(draft.levels(path)) + 1))

        return self._extend(trials, grow)

    def longer(self, trials: pd.DataFrame, factor: int = 2) -> str | None:
        """The sweep of these trials with a multiple of the budget, under a new name; None where no spec has them."""
        return self._extend(trials, lambda draft: _change_budget(draft, "longer", factor))

    def _extend(self, trials: pd.DataFrame, change: Callable[[Draft], None]) -> str | None:
        parent = self._parent_of(trials)
        if parent is None:
            return None
        draft = Draft(parent, trials, self.taken)
        change(draft)
        text = draft.write()
        return text if is_valid(text) else None

    def _parent_of(self, trials: pd.DataFrame) -> Parent | None:
        """The sweep with most of these trials; None where no sweep has any."""
        names = set(trials["fingerprint"])
        parent = max(self.parents, key=lambda parent: len(parent.trials & names), default=None)
        return parent if parent is not None and parent.trials & names else None

    def _draft(self, parent: Parent, trials: pd.DataFrame, fit: Fit, *, failed: bool, tied: bool) -> str | None:
        draft = Draft(parent, trials, self.taken)
        if not tied:
            draft.rename("without_ties")
            draft.drop_ties()
        elif _solves_an_axis(parent) and fit.fitted_by.grows and fit.reason not in AT_AN_END:
            return None
        _add_seeds(draft, fit, failed=failed)
        if fit.reason in AT_AN_END:
            _change_budget(draft, *AT_AN_END[fit.reason])
        elif fit.reason != Reason.TOO_FEW_SEEDS and not fit.fitted_by.suggest(draft, fit):
            return None
        text = draft.write()
        return f"{fit.fitted_by.suggestion_note}{text}" if is_valid(text) else None


def _read_parent(sections: dict[str, Any]) -> Parent | None:
    """None for a search, and for a stored spec that this version cannot read any more."""
    try:
        return Parent(parse_stored_spec(write_yaml(sections), "spec.yaml", {}), is_ours=True) if "measure" in sections else None
    except UserError:
        return None


def _solves_an_axis(parent: Parent) -> bool:
    return any(tie.solve in AXIS_SETTINGS for tie in parent.spec.ties)


def _add_seeds(draft: Draft, fit: Fit, *, failed: bool) -> None:
    """As many seeds as a law needs; more where some seeds of the design failed."""
    seeds = draft.parent.measure.seeds
    if seeds < MIN_SEEDS or fit.reason == Reason.TOO_FEW_SEEDS:
        seeds = seeds + SEEDS - fit.seeds if failed else max(SEEDS, seeds)
    draft.share("measure.seeds", max(SEEDS, seeds) if seeds < MIN_SEEDS else seeds)


def _change_budget(draft: Draft, word: str, factor: float) -> None:
    """Longer or shorter training, under a new name."""
    budget = draft.parent.spec.base.fit.budget
    draft.rename(word)
    draft.share("trial.fit.budget", {"unit": budget.unit, "amount": max(1, round_amount(budget.amount * factor))})
    for block in draft.blocks:
        if AMOUNT in block:
            block[AMOUNT] = [max(1, round_amount(float(amount) * factor)) for amount in block[AMOUNT]]
    for tie in draft.sections["measure"].get("tie", []):
        if tie["so_that"] == "train_flops":
            tie["equals"] *= factor
