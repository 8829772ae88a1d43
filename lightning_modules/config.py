"""`TrialConfig`: everything that one trial depends on. The same config is the same trial in every sweep."""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from lightning_modules.yaml_file import read_yaml
from rrm.config import ModelConfig, StrictConfig
from rrm.errors import UserError, from_validation
from rrm.losses import LossConfig
from rrm.optim import OptimConfig
from rrm.tasks import TaskConfig
from rrm.tasks.sudoku import SudokuConfig

BudgetUnit = Literal["steps", "fresh_examples", "train_flops", "seconds"]


class Budget(StrictConfig):
    """When training ends: at the first step at which `amount` of `unit` is used up."""

    unit: BudgetUnit = "steps"  # optimizer steps, examples that entered a slot, FLOPs of training, seconds of training
    amount: float = Field(1000, gt=0)


class FitConfig(StrictConfig):
    """How a model is trained."""

    batch_size: int = Field(128, ge=1)  # slots
    budget: Budget = Budget()
    gradient_clip: float = Field(0.0, ge=0)  # largest gradient norm; 0 is off, as in the papers


class EvalConfig(StrictConfig):
    """How a model is scored; always with the averaged weights."""

    validations: int = Field(10, ge=1)  # times the validation split is scored during training, evenly over the budget
    max_depth: int = Field(16, ge=1)  # the depth curve at the end runs over 1 .. max_depth supervision steps
    batch_size: int = Field(256, ge=1)


class TrialConfig(StrictConfig):
    """One trial, seed included."""

    task: TaskConfig = SudokuConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    fit: FitConfig = FitConfig()
    eval: EvalConfig = EvalConfig()
    seed: int = Field(0, ge=0)  # initial weights, batch order, augmentation, exploration

    @model_validator(mode="after")
    def _curve_reaches_the_trained_depth(self) -> Self:
        if self.eval.max_depth < self.model.supervision_steps:
            raise ValueError(
                "eval.max_depth must be at least model.supervision_steps, "
                f"got {self.eval.max_depth} and {self.model.supervision_steps}"
            )
        return self

    @property
    def fingerprint(self) -> str:
        """16 hex digits over the whole resolved config; data files count by digest, not by path."""
        identity = self.model_dump(mode="json", exclude={"task"}) | {"task": self.task.identity()}
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]

    def flat(self) -> dict[str, Any]:
        """Every resolved parameter by dotted path, the seed aside."""
        return flatten(self.model_dump(mode="json", exclude_none=True, exclude={"seed"}))

    def located(self, folder: Path) -> Self:
        """The same trial with data paths made absolute, relative ones starting at `folder`."""
        return self.model_copy(update={"task": self.task.located(folder)})

    def resolved(self) -> dict[str, Any]:
        """What `trial.yaml` holds: every field, those without effect left out."""
        return self.model_dump(mode="json", exclude_none=True)


def flatten(section: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as dotted paths."""
    flat: dict[str, Any] = {}
    for key, value in section.items():
        path = f"{prefix}.{key}" if prefix else key
        flat |= flatten(value, path) if isinstance(value, dict) else {path: value}
    return flat


def parse_trial(sections: dict[str, Any], folder: Path, prefix: str = "") -> TrialConfig:
    """The trial that YAML sections describe; relative data paths start at `folder`.

    Raises:
        UserError: a key, a value or a data file is wrong; the path of the field starts with `prefix`.
    """
    try:
        # Through JSON, where a list may stand for a tuple and 1 for 1.0, but nothing else is converted.
        config = TrialConfig.model_validate_json(json.dumps(sections))
    except ValidationError as error:
        raise from_validation(error, TrialConfig, prefix) from None
    return config.located(folder)


def load_trial(path: Path) -> TrialConfig:
    """The trial in a YAML file.

    Raises:
        UserError: the file is not a valid trial; a sweep is refused with the command to use.
    """
    sections = read_yaml(path)
    if "trial" in sections or "measure" in sections or "search" in sections:
        raise UserError(f"is a sweep, not a trial: use rrm-sweep run {path}", str(path))
    return parse_trial(sections, path.parent)
