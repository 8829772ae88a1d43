"""Versions of the defaults of a trial: a sweep keeps the version that it was begun with, and a new one gets the newest."""

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

from rrm.errors import UserError
from rrm.kinds import kind_of
from rrm.registry import BUILT_IN, Registry
from rrm.tasks import DEFAULT_KIND as DEFAULT_TASK

Sections = dict[str, Any]

FIRST_DEFAULTS = 1  # version of stored specs that name none


class ChangedDefault(NamedTuple):
    """A default that a version has changed; the new one is in the config class of the field."""

    path: str  # dotted, of a field of a trial
    before: Any  # the default in all earlier versions
    unless: Mapping[str, Any] = {}  # where a field has such a value, the default is the same in all versions


CHANGED_DEFAULTS: dict[int, list[ChangedDefault]] = {
    2: [ChangedDefault("model.positions", "rotary", unless={"model.mixer": "mlp"})],
    3: [],  # a design over `task.train_examples` has nested training sets (`nest_training_sets`)
}
NEWEST_DEFAULTS = max(CHANGED_DEFAULTS)
NESTED_SINCE = 3


def parse_version(version: Any, where: str) -> int:
    """A version of the defaults, as a file has it.

    Raises:
        UserError: there is no such version here; `where` names the field.
    """
    if isinstance(version, bool) or not isinstance(version, int) or version < FIRST_DEFAULTS:
        raise UserError(where, f"must be a version of the defaults, {FIRST_DEFAULTS} to {NEWEST_DEFAULTS}, got {version!r}")
    if version > NEWEST_DEFAULTS:
        known = f"this version has the defaults {FIRST_DEFAULTS} to {NEWEST_DEFAULTS}"
        raise UserError(where, f"is {version}, written by a newer rrm-sweeps: {known}; install the newer one")
    return version


def older_defaults(version: int) -> dict[str, ChangedDefault]:
    """The fields whose default in `version` is not that of today."""
    later = [change for number in sorted(CHANGED_DEFAULTS, reverse=True) if number > version for change in CHANGED_DEFAULTS[number]]
    return {change.path: change for change in later}  # the first change behind `version` wins


def with_defaults(trial: Sections, version: int, registry: Registry = BUILT_IN) -> Sections:
    """A copy of a trial's sections in which absent fields have the defaults of `version` that differ from those of today."""
    filled = copy.deepcopy(trial)
    for change in older_defaults(version).values():
        is_same = any(_value_at(trial, path) == value for path, value in change.unless.items())
        if _has_field(trial, change.path, registry) and not is_same:
            _fill(filled, change.path, change.before)
    return filled


def nest_training_sets(trial: Sections, registry: Registry = BUILT_IN) -> Sections:
    """A copy of a trial's sections in which `task.nested` is true, unless it is given or the task does not generate its puzzles."""
    task = trial.get("task", {})
    config = registry.tasks.get(kind_of(task, DEFAULT_TASK))
    has_files = isinstance(task, dict) and {"train", "hub"} & task.keys()
    filled = copy.deepcopy(trial)
    if config is not None and "nested" in config.model_fields and not has_files:
        _fill(filled, "task.nested", True)
    return filled


def _has_field(trial: Sections, path: str, registry: Registry) -> bool:
    """Whether a trial can have this field: a model has the fields of its kind alone."""
    config = registry.models.get(str(_value_at(trial, "model.kind")))
    section, _, name = path.rpartition(".")
    return section != "model" or config is None or name in config.model_fields


def describe_defaults(version: int) -> str:
    """What is different in a version, for people: `defaults 1 (model.positions: rotary)`."""
    differing = ", ".join(f"{path}: {change.before}" for path, change in older_defaults(version).items())
    return f"defaults {version}" + (f" ({differing})" if differing else "")


def _value_at(sections: Any, path: str) -> Any:
    """The value at a dotted path; None where there is none."""
    for key in path.split("."):
        sections = sections.get(key) if isinstance(sections, dict) else None
    return sections


def _fill(sections: Sections, path: str, value: Any) -> None:
    """Set a field that is absent; a word in the place of a section stays, for the validation to refuse."""
    *parents, last = path.split(".")
    section: Any = sections
    for parent in parents:
        section = section.setdefault(parent, {}) if isinstance(section, dict) else None
    if isinstance(section, dict):
        section.setdefault(last, value)
