"""Tasks: puzzles with a known answer, a file each: settings with a `kind`, and the subclass of `Task` whose `config` they are."""

from typing import TYPE_CHECKING, get_type_hints

from rrm.kinds import import_modules, union_by_kind
from rrm.tasks.task import SPLITS, BaseTaskConfig, Examples, PuzzleShape, Split, Task

DEFAULT_KIND = "sudoku"


def _find_tasks() -> dict[str, type[Task]]:
    """The tasks in the files of this folder, by their kind; the default one first."""
    held = [value for module in import_modules(__name__) for value in vars(module).values() if isinstance(value, type)]
    kinds = {family: _config_of(family).model_fields.get("kind") for family in held if issubclass(family, Task)}
    tasks = {kind.default: family for family, kind in kinds.items() if kind is not None}
    return {DEFAULT_KIND: tasks.pop(DEFAULT_KIND)} | tasks


def _config_of(family: type[Task]) -> type[BaseTaskConfig]:
    config: type[BaseTaskConfig] = get_type_hints(family)["config"]
    return config


TASKS = _find_tasks()
CONFIGS = {kind: _config_of(family) for kind, family in TASKS.items()}

if TYPE_CHECKING:
    TaskConfig = BaseTaskConfig
else:
    TaskConfig = union_by_kind(CONFIGS, DEFAULT_KIND)


def build_task(config: BaseTaskConfig) -> Task:
    """The task that a config describes.

    Raises:
        UserError: a data file that the config names is missing or has a bad row.
    """
    return TASKS[config.kind](config)  # type: ignore[attr-defined, call-arg]


__all__ = [
    "CONFIGS",
    "SPLITS",
    "TASKS",
    "BaseTaskConfig",
    "Examples",
    "PuzzleShape",
    "Split",
    "Task",
    "TaskConfig",
    "build_task",
]
