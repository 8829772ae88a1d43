"""A refusal's way out: the smallest design around a sweep that would identify the law, as a spec ready to paste.

Under the name of the sweep only what is missing is run: finished trials are never run again.
"""

from typing import Any

import pandas as pd

from analysis.data.file_names import slug
from analysis.data.tables import SECTIONS, is_parameter
from analysis.laws.fit import Fit
from lightning_modules.yaml_file import write_yaml
from sweeps.design.axes import AXES, CYCLES, LATENT_UPDATES, SUPERVISION_STEPS, WIDTH

UNIT, BUDGET, MAX_DEPTH = "fit.budget.unit", "fit.budget.amount", "eval.max_depth"
SCALES = 4  # of an axis: enough for every law
MOST_LEVELS = 5  # kept of an axis that has enough
SEEDS = 3
WIDTHS_AT_EQUAL_COMPUTE = 5  # of iso_flop
LONGER, SHORTER = 4, 0.25  # budgets, off the floor and off the ceiling
LEAST_DEPTH = 8  # supervision steps that a test-time curve is seen over

AT_ONE_BUDGET = "# one level of training compute; three make a law: rrm-analyze takes several sweeps together\n"

Levels = dict[str, list[Any]]


def suggest_design(trials: pd.DataFrame, fit: Fit) -> str:
    """The spec of a design that does not fail for the reason of this refusal.

    Args:
        trials: of the group that was refused.
    """
    fixed, vary = _settings(trials), _varied(trials)
    blocks: Any = vary
    if fit.form == "three_exponents":
        blocks = _corners(trials, vary)
    elif fit.law == "iso_flop":
        _equal_compute(trials, fixed, vary, fit)
    else:
        _extend(trials, vary, fit)
    if fit.reason in {"floor", "ceiling"}:
        fixed[BUDGET] = float(fixed.get(BUDGET, 1000)) * (LONGER if fit.reason == "floor" else SHORTER)
    for path in (WIDTH, CYCLES, LATENT_UPDATES, SUPERVISION_STEPS):
        if isinstance(blocks, list) or path in blocks:
            fixed.pop(path, None)
    deepest = max(int(step) for step in vary.get(SUPERVISION_STEPS, [fixed.get(SUPERVISION_STEPS, 1) or 1]))
    fixed[MAX_DEPTH] = max(int(fixed.get(MAX_DEPTH, 16)), 2 * deepest)
    fixed.setdefault("task.kind", "sudoku")
    matching = str(trials["matching"].iloc[0]) if "matching" in trials else "steps"
    measure = {"vary": blocks, "seeds": max(SEEDS, _seeds(trials)), "matching": fixed.get(UNIT, matching)}
    spec = write_yaml({"name": _name(trials, fit), "trial": _nested(fixed), "measure": measure})
    return f"{AT_ONE_BUDGET}{spec}" if fit.law == "iso_flop" else spec


def _name(trials: pd.DataFrame, fit: Fit) -> str:
    """The sweep's own, unless what all trials share changes: its trials could not be gone on with."""
    name = slug(trials["sweep"].iloc[0]) if "sweep" in trials else "more"
    changes = {"floor": "longer", "ceiling": "shorter"}.get(str(fit.reason), "iso_flop" if fit.law == "iso_flop" else "")
    return f"{name}_{changes}" if changes else name


def _settings(trials: pd.DataFrame) -> dict[str, Any]:
    """What all trials share."""
    paths = [name for name in map(str, trials) if name.startswith(SECTIONS) and is_parameter(name)]
    shared: dict[str, Any] = {}
    for path in paths:
        values = trials[path].dropna()
        if len(values) == len(trials) and values.astype(str).nunique() == 1 and values.iloc[0] not in ("", None):
            value = values.iloc[0]
            shared[path] = value.item() if hasattr(value, "item") else value
    return shared


def _varied(trials: pd.DataFrame) -> Levels:
    """The axes that the table varies, with their levels."""
    present = [path for path in (WIDTH, CYCLES, LATENT_UPDATES, SUPERVISION_STEPS) if path in trials and trials[path].nunique() > 1]
    return {path: _levels(trials, path, 1, min(MOST_LEVELS, trials[path].nunique())) for path in present}


def _extend(trials: pd.DataFrame, vary: Levels, fit: Fit) -> None:
    """More levels along the axes that the law needs."""
    if fit.law in {"recurrence", "power_params", "compute_optimal"}:
        vary[WIDTH] = _levels(trials, WIDTH, 32, max(SCALES, len(vary.get(WIDTH, []))))
    if fit.law in {"recurrence", "power_depth", "log_depth", "compute_optimal"}:
        axis = _depth_axis(trials)
        vary[axis] = _levels(trials, axis, 1, max(SCALES, len(vary.get(axis, []))))
    if fit.law in {"test_time", "required_depth"}:
        there = [int(step) for step in trials[SUPERVISION_STEPS].dropna() if step] if SUPERVISION_STEPS in trials else []
        deeper = max(LEAST_DEPTH, 2 * max(there, default=1)) if fit.reason == "too_few_scales" else max(there, default=LEAST_DEPTH)
        vary[SUPERVISION_STEPS] = sorted({*vary.get(SUPERVISION_STEPS, []), deeper})


def _corners(trials: pd.DataFrame, vary: Levels) -> list[Levels]:
    """Three widths, both ends of T, n and N_sup, and a centre (docs/laws.md, "Three exponents")."""
    vary[WIDTH] = _levels(trials, WIDTH, 32, SCALES)[:3]
    axes = (CYCLES, LATENT_UPDATES, SUPERVISION_STEPS)
    for path in axes:
        vary[path] = _levels(trials, path, 1, 2)
    return [dict(vary), {WIDTH: vary[WIDTH], **{path: [_middle(vary[path])] for path in axes}}]


def _equal_compute(trials: pd.DataFrame, fixed: dict[str, Any], vary: Levels, fit: Fit) -> None:
    """Five widths at one more budget of training compute: all trials of a sweep have the same."""
    for path in (CYCLES, LATENT_UPDATES, SUPERVISION_STEPS):
        if path in vary:
            fixed[path] = vary.pop(path)[-1]
    widths = _levels(trials, WIDTH, 32, WIDTHS_AT_EQUAL_COMPUTE)
    if fit.reason == "no_interior_optimum":
        widths = [*widths, 2 * widths[-1]]
    vary[WIDTH] = widths
    fixed[UNIT] = "train_flops"
    fixed[BUDGET] = float(f"{trials['train_flops'].max() * (1 if fit.reason == 'no_interior_optimum' else LONGER):.3g}")


def _levels(trials: pd.DataFrame, path: str, first: int, count: int) -> list[int]:
    """The levels that a table has, with as many doublings as are missing."""
    there = sorted({int(value) for value in trials[path].dropna() if value}) if path in trials else []
    levels = there or [first]
    while len(levels) < count:
        levels.append(2 * levels[-1])
    if len(levels) > count:  # evenly over what is there
        levels = [levels[round(number * (len(levels) - 1) / (count - 1))] for number in range(count)]
    return sorted(set(levels))


def _middle(levels: list[int]) -> int:
    return max(1, round((levels[0] * levels[-1]) ** 0.5)) if levels[-1] > levels[0] + 1 else levels[0]


def _depth_axis(trials: pd.DataFrame) -> str:
    """The axis of recursion that the table varies most."""
    varied = {path: trials[path].nunique() for path in (SUPERVISION_STEPS, LATENT_UPDATES, CYCLES) if path in trials}
    return max(varied, key=lambda path: varied[path]) if varied and max(varied.values()) > 1 else SUPERVISION_STEPS


def _seeds(trials: pd.DataFrame) -> int:
    axes = [name for name in AXES if name in trials]
    return int(trials.groupby(axes).size().max()) if axes else SEEDS


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    """Dotted paths as sections."""
    sections: dict[str, Any] = {}
    for path, value in flat.items():
        *parents, last = path.split(".")
        section = sections
        for parent in parents:
            section = section.setdefault(parent, {})
        section[last] = value
    return sections
