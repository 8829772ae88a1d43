"""A refusal's way out: the smallest design around a sweep that would identify the law, as a spec ready to paste.

A suggestion is the spec of the sweep itself with more levels or seeds. Under the name of the sweep it contains every finished
trial, and `rrm-sweep run` adds what is missing; where the budget of all trials changes, it has another name.
"""

import copy
from collections.abc import Collection, Sequence
from typing import Any

import pandas as pd

from analysis.laws.draft import Draft, Parent, is_valid
from analysis.laws.fit import Fit
from analysis.laws.sketch import sketch
from lightning_modules.yaml_file import write_yaml
from rrm.errors import UserError
from sweeps.design.axes import AXIS_SETTINGS, CYCLES, LATENT_UPDATES, LAYERS, SUPERVISION_STEPS, WIDTH
from sweeps.design.thresholds import MIN_SEEDS
from sweeps.spec.load_spec import parse_stored_spec
from sweeps.spec.measure import Block
from sweeps.spec.space import Scalar

SCALES = 4  # of an axis: enough for every law
SIZES_OF_CORNERS = 3
SEEDS = 3
WIDTHS_AT_EQUAL_COMPUTE = 5  # of iso_flop
LONGER, SHORTER = 4, 0.25  # budgets, off the floor and off the ceiling
MIN_DEPTH = 8  # supervision steps that a test-time curve is seen over
MIN_DEPTHS = 4  # points of a depth curve that the required-depth law needs

AT_ONE_BUDGET = "# one level of training compute; three make a law: rrm-analyze takes several sweeps together\n"
CORNERS = (CYCLES, LATENT_UPDATES, SUPERVISION_STEPS)  # axes of the form three_exponents
SIZE_LAWS = {"recurrence", "power_params", "compute_optimal"}
DEPTH_LAWS = {"recurrence", "power_depth", "log_depth", "compute_optimal"}
CURVE_LAWS = {"test_time", "required_depth"}


class Suggestions:
    """Suggestions for the refusals of one table."""

    def __init__(self, specs: Sequence[dict[str, Any]], sweeps: Collection[str]) -> None:
        """`specs` are stored specs of the sweeps in the table, `sweeps` their names, which no new sweep may have."""
        self.parents = [parent for sections in specs if (parent := _read_parent(sections)) is not None]
        self.taken = set(sweeps)

    def suggest(self, trials: pd.DataFrame, fit: Fit, lost: bool) -> str | None:
        """The spec of a design that does not fail for the reason of this refusal.

        None where no design of this model and task would: a one-pass model has no recursion, and some models ignore D.

        Args:
            trials: of the group that was refused.
            lost: whether trials of the group failed.
        """
        if fit.reason == "flat" or _needs_another_task(fit):
            return None
        names = set(trials["fingerprint"])
        parent = max(self.parents, key=lambda parent: len(parent.trials & names), default=None)
        if parent is None or not parent.trials & names:
            parent = Parent(sketch(trials, max(SEEDS, fit.seeds)), is_ours=False)
        text = self._draft(parent, trials, fit, lost, tied=True)
        if text is None and parent.spec.ties:
            text = self._draft(parent, trials, fit, lost, tied=False)
        return text

    def _draft(self, parent: Parent, trials: pd.DataFrame, fit: Fit, lost: bool, tied: bool) -> str | None:
        draft = Draft(parent, trials)
        if not tied:
            draft.rename("without_ties", self.taken)
            draft.drop_ties()
        elif _solves_an_axis(parent) and fit.law in SIZE_LAWS | DEPTH_LAWS and fit.reason not in {"floor", "ceiling"}:
            return None
        _add_seeds(draft, fit, lost)
        if fit.reason in {"floor", "ceiling"}:
            _change_budget(draft, LONGER if fit.reason == "floor" else SHORTER, self.taken)
        elif fit.law == "iso_flop" and fit.reason != "too_few_seeds":
            _equalize_compute(draft, fit, self.taken)
        elif fit.reason != "too_few_seeds" and not _extend(draft, fit):
            return None
        text = draft.write()
        if not is_valid(text):
            return None
        return f"{AT_ONE_BUDGET}{text}" if fit.law == "iso_flop" else text


def _read_parent(sections: dict[str, Any]) -> Parent | None:
    """None for a stored spec that this version cannot read any more."""
    try:
        return Parent(parse_stored_spec(write_yaml(sections), "spec.yaml", {}), is_ours=True)
    except UserError:
        return None


def _needs_another_task(fit: Fit) -> bool:
    """Whether the puzzles have too few levels of difficulty, which no design of a model changes."""
    return fit.law == "required_depth" and fit.reason == "too_few_scales" and fit.fitted_range["depth"][1] >= MIN_DEPTHS


def _solves_an_axis(parent: Parent) -> bool:
    return any(tie.solve in AXIS_SETTINGS for tie in parent.spec.ties)


def _add_seeds(draft: Draft, fit: Fit, lost: bool) -> None:
    """As many seeds as a law needs; more where those that are there failed."""
    seeds = draft.parent.measure.seeds
    if seeds < MIN_SEEDS or fit.reason == "too_few_seeds":
        seeds = seeds + SEEDS - fit.seeds if lost else max(SEEDS, seeds)
    draft.share("measure.seeds", max(SEEDS, seeds) if seeds < MIN_SEEDS else seeds)


def _change_budget(draft: Draft, factor: float, taken: Collection[str]) -> None:
    """Longer or shorter training, under a new name."""
    budget = draft.parent.spec.base.fit.budget
    draft.rename("longer" if factor > 1 else "shorter", taken)
    draft.share("trial.fit.budget", {"unit": budget.unit, "amount": max(1, _round(budget.amount * factor))})
    for tie in draft.sections["measure"].get("tie", []):
        if tie["so_that"] == "train_flops":
            tie["equals"] *= factor


def _round(amount: float) -> float:
    """Three digits, without a point where the number is whole."""
    rounded = float(f"{amount:.3g}")
    return int(rounded) if rounded.is_integer() and rounded < 1e9 else rounded


def _extend(draft: Draft, fit: Fit) -> bool:
    """More levels along the axes that the law needs; False where the model does not have such an axis."""
    more = 1 if fit.reason == "lack_of_fit" else 0
    if fit.form == "three_exponents":
        return _add_corners(draft, more)
    if fit.law in CURVE_LAWS:
        steps = draft.levels(SUPERVISION_STEPS)
        if not steps:
            return False
        draft.cross(SUPERVISION_STEPS, [*steps, MIN_DEPTH if steps[-1] < MIN_DEPTH else 2 * steps[-1]])
        return True
    axes = [_size_axis(draft)] if fit.law in SIZE_LAWS else []
    if fit.law in DEPTH_LAWS:
        depth = _depth_axis(draft)
        if depth is None:
            return False
        axes.append(depth)
    for axis in axes:
        draft.cross(axis, draft.grow(axis, max(SCALES, len(draft.levels(axis)) + more)))
    return True


def _size_axis(draft: Draft) -> str:
    return max((WIDTH, LAYERS), key=lambda path: len(draft.levels(path)))


def _depth_axis(draft: Draft) -> str | None:
    """The axis of recursion that the group varies most; None for a model without recursion."""
    if all(cell.model.kind in {"direct", "untied"} for cells in draft.cells.values() for _, cell in cells):
        return None
    counts = {path: len(draft.levels(path)) for path in (SUPERVISION_STEPS, LATENT_UPDATES, CYCLES)}
    return max(counts, key=lambda path: counts[path])


def _add_corners(draft: Draft, more: int) -> bool:
    """Three sizes, both ends of T, n and N_sup, and a centre (docs/laws.md, "Three exponents")."""
    size = _size_axis(draft)
    levels = draft.grow(size, max(SIZES_OF_CORNERS, len(draft.levels(size)) + more))
    ends: Block = {path: _ends(draft.grow(path, 2)) for path in CORNERS}
    centre: Block = {path: [_middle(both)] for path, both in ends.items()}
    blocks = copy.deepcopy(draft.blocks)
    draft.cross(size, levels)
    crossed, draft.blocks = draft.blocks, blocks
    for number in draft.cells:
        for depths in (ends, centre):
            draft.append({**crossed[number], **depths})
    return True


def _ends(levels: list[int]) -> list[Scalar]:
    return [levels[0], levels[-1]]


def _middle(levels: Sequence[Any]) -> int:
    return max(1, round((levels[0] * levels[-1]) ** 0.5)) if levels[-1] > levels[0] + 1 else levels[0]


def _equalize_compute(draft: Draft, fit: Fit, taken: Collection[str]) -> None:
    """Five widths at one more budget of training compute, under a new name: all trials of a sweep have the same budget."""
    widths, trials = draft.grow(WIDTH, WIDTHS_AT_EQUAL_COMPUTE), draft.trials
    factor: float = LONGER
    if fit.reason == "no_interior_optimum":
        losses = trials.groupby("params_recursed")["test/nll"].mean()
        if losses.idxmin() != losses.index.min():  # the best size is the largest: wider, at the same compute
            widths, factor = [*widths, 2 * widths[-1]], 1
    draft.drop_ties()
    draft.rename("iso_flop", taken)
    last = max(draft.cells, key=lambda number: max(draft.values(number, WIDTH)))
    block = draft.blocks[last]
    deepest: Block = {path: [draft.levels(path)[-1]] for path in (LAYERS, *CORNERS) if path in block}
    draft.blocks = [{**block, **deepest, WIDTH: list(widths)}]
    draft.share("trial.fit.budget", {"unit": "train_flops", "amount": _round(float(trials["train_flops"].max()) * factor)})
    draft.share("measure.matching", "train_flops")
