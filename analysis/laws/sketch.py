"""The sweep that the columns of a table describe as far as they can: the start of a suggestion for a table without a spec."""

import math
from typing import Any

import pandas as pd

from analysis.data.file_names import slug
from analysis.data.tables import SECTIONS, is_parameter
from analysis.laws.draft import MAX_NAME_LETTERS
from lightning_modules.config import TrialConfig, validate_trial
from lightning_modules.yaml_file import parse_yaml, write_yaml
from rrm.config import ModelConfig, fields_by_path
from rrm.defaults import NEWEST_DEFAULTS
from rrm.errors import UserError
from rrm.tasks import CONFIGS
from sweeps.design.axes import CYCLES, LATENT_UPDATES, SUPERVISION_STEPS, TRAIN_EXAMPLES, WIDTH
from sweeps.spec.load_spec import parse_stored_spec
from sweeps.spec.space import with_values
from sweeps.spec.sweep import SweepSpec

VARIED = (WIDTH, CYCLES, LATENT_UPDATES, SUPERVISION_STEPS, TRAIN_EXAMPLES)
ABSENT = {WIDTH: 32, SUPERVISION_STEPS: 1}  # values of axes that a table does not have
MAX_LEVELS = 5  # values of an axis that a sketch keeps
HEAD_SIZE = "model.head_size"
MAX_HEAD_SIZE = ModelConfig.model_fields["head_size"].default


def sketch(trials: pd.DataFrame, seeds: int) -> SweepSpec:
    """A sweep of the settings that all trials share and of their axes, under a new name.

    Settings that are not valid, and settings that have their default, are not written.
    """
    vary = {path: levels for path in VARIED if (levels := _levels(trials, path))}
    fixed = {"task.kind": "sudoku", **ABSENT, **_shared(trials)}
    task = CONFIGS.get(str(fixed["task.kind"]))
    if task is not None and "train_examples" not in task.model_fields:
        vary.pop(TRAIN_EXAMPLES, None)
    vary = {path: levels for path, levels in vary.items() if len(levels) > 1} or {WIDTH: [fixed[WIDTH]]}
    fixed = {path: value for path, value in fixed.items() if path not in vary}
    head = _head_size([*vary.get(WIDTH, []), fixed.get(WIDTH, 0)], fixed.get(HEAD_SIZE, MAX_HEAD_SIZE))
    if head is None:
        vary[WIDTH] = sorted({MAX_HEAD_SIZE * math.ceil(width / MAX_HEAD_SIZE) for width in vary.pop(WIDTH, [fixed.pop(WIDTH, 1)])})
    fixed[HEAD_SIZE] = head or MAX_HEAD_SIZE
    first = {path: levels[0] for path, levels in vary.items()}
    fixed = _without_defaults(_valid(fixed, first), first)
    matching = fixed.get("fit.budget.unit", "steps")
    name = slug(trials["sweep"].iloc[0]) if "sweep" in trials else "table"
    sections = {
        "name": f"{name[:MAX_NAME_LETTERS]}_more",
        "defaults": NEWEST_DEFAULTS,
        "trial": with_values({}, fixed),
        "measure": {"vary": vary, "seeds": seeds, "matching": matching},
    }
    return parse_stored_spec(write_yaml(sections), "a sketch", {})


def _shared(trials: pd.DataFrame) -> dict[str, Any]:
    """The fields of a trial in which all trials are equal; lists are text in a table."""
    fields = fields_by_path(TrialConfig)
    shared: dict[str, Any] = {}
    for path in [name for name in map(str, trials) if name.startswith(SECTIONS) and is_parameter(name) and name in fields]:
        values = trials[path].dropna()
        if len(values) == len(trials) and values.astype(str).nunique() == 1 and values.iloc[0] != "":
            shared[path] = _plain(values.iloc[0])
    return shared


def _plain(value: Any) -> Any:
    """A cell of a table as YAML has it."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, str) and value.startswith("["):
        return parse_yaml(value, "a list")
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _levels(trials: pd.DataFrame, path: str) -> list[int]:
    """Values of an axis, evenly thinned; a value below 1 is no setting of ours."""
    levels = sorted({int(value) for value in trials[path].dropna() if value >= 1}) if path in trials else []
    if len(levels) > MAX_LEVELS:
        levels = [levels[round(number * (len(levels) - 1) / (MAX_LEVELS - 1))] for number in range(MAX_LEVELS)]
    return levels


def _head_size(widths: list[int], head: Any) -> int | None:
    """The head size where it divides the widths, else the largest below it that does; None where no even one does."""
    common = math.gcd(*widths)
    sizes = range(head if isinstance(head, int) and head > 1 else MAX_HEAD_SIZE, 1, -1)
    return next((size for size in sizes if size % 2 == 0 and common % size == 0), None)


def _valid(fixed: dict[str, Any], first: dict[str, Any]) -> dict[str, Any]:
    """The settings without those that make a trial invalid; the width, which is valid, stays."""
    kept = {path: value for path, value in fixed.items() if path in {WIDTH, HEAD_SIZE}}
    while fixed != kept:
        try:
            validate_trial(with_values({}, fixed | first))
        except UserError as error:
            wrong = [path for path in fixed.keys() - kept.keys() if _is_named(path, error)]
            fixed = {path: value for path, value in fixed.items() if path not in wrong} if wrong else kept
        else:
            break
    return fixed


def _is_named(path: str, error: UserError) -> bool:
    """Whether an error is about a setting, or a part of it."""
    return any(f"{place}.".startswith(f"{path}.") for place in (error.where, *error.fields))


def _without_defaults(fixed: dict[str, Any], first: dict[str, Any]) -> dict[str, Any]:
    """The settings without those that change nothing; the kinds of task and model stay."""
    resolved = validate_trial(with_values({}, fixed | first)).resolved()
    for path in [path for path in fixed if not path.endswith(".kind")]:
        others = {name: value for name, value in fixed.items() if name != path}
        try:
            if validate_trial(with_values({}, others | first)).resolved() == resolved:
                fixed = others
        except UserError:
            continue
    return fixed
