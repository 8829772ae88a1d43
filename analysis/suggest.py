"""A refusal's way out: the smallest design around a sweep that would identify the law, as a spec ready to paste."""

from typing import Any

import pandas as pd

from analysis.groups import RECURSION, SECTIONS
from analysis.tables import AXES, is_parameter
from lightning_modules.yaml_file import write_yaml

WIDTH, DEPTH, LATENT, CYCLES = "model.hidden_size", "model.supervision_steps", "model.l_cycles", "model.h_cycles"
SCALES = 4  # of an axis: enough for every law
SEEDS = 3
BUDGET = "fit.budget.amount"


def suggest_design(trials: pd.DataFrame, reason: str, form: str) -> str:
    """The spec of a design that does not fail for this reason.

    Args:
        trials: of the refused group.
        form: `three_exponents` needs T, n and N_sup apart.
    """
    fixed = _settings(trials)
    vary: dict[str, list[Any]] = {WIDTH: _levels(trials, WIDTH, 32, SCALES)}
    if form == "three_exponents":
        vary[WIDTH] = vary[WIDTH][:3]
        for path in (CYCLES, LATENT, DEPTH):
            vary[path] = _levels(trials, path, 1, 2)
        blocks: Any = [dict(vary), {WIDTH: vary[WIDTH], **{path: [_middle(vary[path])] for path in (CYCLES, LATENT, DEPTH)}}]
    else:
        axis = _depth_axis(trials)
        vary[axis] = _levels(trials, axis, 1, SCALES)
        blocks = vary
    for path in (WIDTH, CYCLES, LATENT, DEPTH):
        if isinstance(blocks, list) or path in blocks:
            fixed.pop(path, None)
    name = str(trials["sweep"].iloc[0]) if "sweep" in trials else "more"
    if reason in {"floor", "ceiling"}:
        name = f"{name}_{'longer' if reason == 'floor' else 'shorter'}"
        fixed[BUDGET] = float(fixed.get(BUDGET, 1000)) * (4 if reason == "floor" else 0.25)
    deepest = max(vary.get(DEPTH, [int(fixed.get(DEPTH, 1) or 1)]))
    fixed["eval.max_depth"] = max(int(fixed.get("eval.max_depth", 16)), 2 * deepest)
    fixed.setdefault("task.kind", "sudoku")
    matching = str(trials["matching"].iloc[0]) if "matching" in trials else "steps"
    measure = {"vary": blocks, "seeds": max(SEEDS, _seeds(trials)), "matching": matching}
    return write_yaml({"name": name, "trial": _nested(fixed), "measure": measure})


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
    varied = {path: trials[path].nunique() for path in (DEPTH, LATENT, CYCLES) if path in trials}
    return max(varied, key=lambda path: varied[path]) if varied and max(varied.values()) > 1 else DEPTH


def _seeds(trials: pd.DataFrame) -> int:
    axes = [name for name in (*AXES, "params_recursed", RECURSION) if name in trials]
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
