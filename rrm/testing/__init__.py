"""Contract tests for a task or a model of your own: `check_task(Task, config)` and `check_model(Model, config)`.

Each raises an AssertionError with one sentence, and the built-in tasks and models pass the same functions (docs/extending.md).
"""

from rrm.testing.model_checks import check_model
from rrm.testing.task_checks import check_task

__all__ = ["check_model", "check_task"]
