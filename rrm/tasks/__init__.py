"""Tasks: puzzles with a known answer, a file each: settings with a `kind`, and the subclass of `Task` whose `config` they are."""

import inspect
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, get_type_hints

from rrm.kinds import classes_in, configs_by_kind, default_first, union_by_kind
from rrm.tasks.task import SPLITS, BaseTaskConfig, Examples, PuzzleShape, Split, Task

DEFAULT_KIND = "sudoku"


def find_tasks(classes: Iterable[type]) -> dict[str, type[BaseTaskConfig]]:
    """The settings of the tasks among some classes, by kind. A task's `config` is annotated with settings that have a `kind`.

    Raises:
        TypeError: a task is not complete, or two tasks have one kind.
    """
    tasks = [(family, config_of(family)) for family in classes if issubclass(family, Task)]
    return configs_by_kind((family, config) for family, config in tasks if "kind" in config.model_fields)


def config_of(family: type[Task]) -> Any:
    """The class that annotates `config`. Other annotations are not read: they may have names that type checkers alone import."""
    owner = next(part for part in family.__mro__ if "config" in inspect.get_annotations(part))
    alone = {"__module__": owner.__module__, "__annotations__": {"config": inspect.get_annotations(owner)["config"]}}
    return get_type_hints(type(owner.__name__, (), alone))["config"]


CONFIGS = default_first(find_tasks(classes_in(__name__)), DEFAULT_KIND)

if TYPE_CHECKING:
    TaskConfig = BaseTaskConfig
else:
    TaskConfig = union_by_kind(CONFIGS, DEFAULT_KIND)


def build_task(config: BaseTaskConfig) -> Task:
    """The task that a config describes.

    Raises:
        UserError: a data file that the config names is missing or has a bad row.
    """
    task: Task = config.built_class(config)
    return task


__all__ = [
    "CONFIGS",
    "SPLITS",
    "BaseTaskConfig",
    "Examples",
    "PuzzleShape",
    "Split",
    "Task",
    "TaskConfig",
    "build_task",
    "config_of",
    "find_tasks",
]
