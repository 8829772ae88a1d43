"""Recursive reasoning models and the tasks they are measured on (torch, numpy and pydantic only).

The names below are what a task or a model of your own imports (docs/extending.md). Each is loaded on first use: `Reasoner` and
`State` load torch, the others do not.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rrm.config import ModelConfig as ModelConfig
    from rrm.config import RecursiveConfig as RecursiveConfig
    from rrm.reasoner import Reasoner as Reasoner
    from rrm.reasoner import State as State
    from rrm.tasks.serial import FIRST as FIRST
    from rrm.tasks.serial import SerialConfig as SerialConfig
    from rrm.tasks.serial import SerialTask as SerialTask
    from rrm.tasks.splits import draw_until as draw_until
    from rrm.tasks.splits import hash_rows as hash_rows
    from rrm.tasks.splits import split_of as split_of
    from rrm.tasks.task import BaseTaskConfig as BaseTaskConfig
    from rrm.tasks.task import Examples as Examples
    from rrm.tasks.task import PuzzleShape as PuzzleShape
    from rrm.tasks.task import Split as Split
    from rrm.tasks.task import Task as Task

_NAMES = {
    "rrm.config": ("ModelConfig", "RecursiveConfig"),
    "rrm.reasoner": ("Reasoner", "State"),
    "rrm.tasks.serial": ("FIRST", "SerialConfig", "SerialTask"),
    "rrm.tasks.splits": ("draw_until", "hash_rows", "split_of"),
    "rrm.tasks.task": ("BaseTaskConfig", "Examples", "PuzzleShape", "Split", "Task"),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'rrm' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
