"""Tasks: puzzles with a known answer, one file a family. Adding one means adding its class to `TASKS`."""

from rrm.tasks.sudoku import Sudoku, SudokuConfig
from rrm.tasks.task import Examples, PuzzleShape, Split, Task

TaskConfig = SudokuConfig
TASKS: dict[str, type[Sudoku]] = {"sudoku": Sudoku}


def build_task(config: TaskConfig) -> Task:
    """The task that a config describes.

    Raises:
        UserError: a data file that the config names is missing or has a bad row.
    """
    return TASKS[config.kind](config)


__all__ = ["TASKS", "Examples", "PuzzleShape", "Split", "Task", "TaskConfig", "build_task"]
