"""Tasks: puzzles with a known answer, one file a family. A new family is a new class in `FAMILIES`."""

from typing import TYPE_CHECKING, Annotated, Any, Union, get_type_hints

from pydantic import Discriminator, Tag

from rrm.tasks.addition import Addition
from rrm.tasks.arc import Arc
from rrm.tasks.automaton import Automaton
from rrm.tasks.maze import Maze
from rrm.tasks.neighbours import Neighbours
from rrm.tasks.permutations import Permutations
from rrm.tasks.pointer_chasing import PointerChasing
from rrm.tasks.prefix_sum import PrefixSum
from rrm.tasks.reachability import Reachability
from rrm.tasks.sudoku import Sudoku
from rrm.tasks.task import SPLITS, BaseTaskConfig, Examples, PuzzleShape, Split, Task

FAMILIES: list[type[Task]] = [
    Sudoku,
    Maze,
    Arc,
    PrefixSum,
    PointerChasing,
    Permutations,
    Automaton,
    Addition,
    Reachability,
    Neighbours,
]
CONFIGS: dict[str, type[BaseTaskConfig]] = {
    config.model_fields["kind"].default: config for config in (get_type_hints(family)["config"] for family in FAMILIES)
}
TASKS: dict[str, type[Task]] = dict(zip(CONFIGS, FAMILIES, strict=True))


def _kind(given: Any) -> Any:
    """The kind of a section; Sudoku where it has none."""
    return given.get("kind", "sudoku") if isinstance(given, dict) else getattr(given, "kind", "sudoku")


if TYPE_CHECKING:
    TaskConfig = BaseTaskConfig
else:
    TaskConfig = Annotated[
        Union[tuple(Annotated[config, Tag(kind)] for kind, config in CONFIGS.items())],  # noqa: UP007
        Discriminator(_kind),
    ]


def build_task(config: BaseTaskConfig) -> Task:
    """The task that a config describes.

    Raises:
        UserError: a data file that the config names is missing or has a bad row.
    """
    return TASKS[config.kind](config)  # type: ignore[attr-defined, call-arg]


__all__ = [
    "CONFIGS",
    "FAMILIES",
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
