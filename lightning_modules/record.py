"""Records: the columns that are known of a trial before it runs, and the points of its curves (names: docs/formats.md)."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypedDict

from pydantic import BaseModel, ConfigDict, model_validator

from lightning_modules.columns import BUDGET_COLUMNS, RECORD_METRICS, column_of, current_name, curve_of
from lightning_modules.config import TrialConfig
from lightning_modules.outcome import Outcome
from rrm.compute import count_layers, count_parameters, count_recursion, inference_flops, train_step_flops
from rrm.config import Cycles
from rrm.errors import UserError, first_line, require_content
from rrm.format_version import check_format

Record = dict[str, Any]  # column -> value, a row of trials.csv
RESULT_FORMAT = 2  # version of result.json; format 1 states no version and names the state change `residual`


@dataclass(frozen=True)
class DepthCurve:
    """Scores after 1 .. D supervision steps, each a list of D values; None where a score is not defined."""

    exact_accuracy: list[float]  # share of rows whose scored tokens are all right, givens included
    token_accuracy: list[float]  # over the tokens that the input does not give away
    nll: list[float]  # mean over those tokens, in nats, under the distribution of the loss
    state_change: list[float]  # relative change of the answer state, mean over rows
    token_change_rate: list[float | None]  # share of tokens whose answer changed since the depth before
    ever_correct: list[float]  # share of rows solved at this depth or an earlier one
    q_auroc: list[float | None]  # area under the ROC curve of the halting value as a sign of a solved row
    steps_used: list[float]  # mean supervision steps until a row halted; D where no row halts early
    rollouts: dict[str, list[float]] = field(default_factory=dict)  # exact accuracy of mode, best_q and oracle over rollouts

    def at(self, depth: int) -> dict[str, float]:
        """The scores of a record at one depth."""
        return {name: getattr(self, name)[depth - 1] for name in RECORD_METRICS}

    @property
    def best_depth(self) -> int:
        """The smallest depth with the highest exact accuracy."""
        return 1 + max(range(len(self.exact_accuracy)), key=lambda depth: (self.exact_accuracy[depth], -depth))


class CurvePoint(TypedDict):
    """One value of a curve."""

    metric: str
    axis: str  # step or depth
    at: int
    value: float
    time: int  # milliseconds since 1970, fixed when the value was measured


class Row(TypedDict):
    """The report of a running trial at a validation."""

    step: int
    time: int  # milliseconds since 1970
    metrics: dict[str, float]  # train_curve/..., val_curve/...
    used: dict[str, float]  # columns of the record that grow with training: steps, fresh_examples, train_flops, ...


def value_of(row: Row, column: str) -> float | None:
    """The score in a row by its name in a record (`val/nll`); None where the row lacks it."""
    return row["metrics"].get(curve_of(column))


def used_of(row: Row, unit: str) -> float:
    """The amount of a budget that a trial has used at a row, in the budget's unit."""
    return row["used"][BUDGET_COLUMNS[unit]]


def scores_of(row: Row) -> dict[str, float]:
    """The validation scores of a row, by their names in a record."""
    named = {column_of(metric): value for metric, value in row["metrics"].items()}
    return {column: value for column, value in named.items() if column is not None}


class _CurvePart(BaseModel):
    """What readers use of a point of a curve."""

    metric: str
    axis: str
    at: int
    value: float


class _ResultPart(BaseModel):
    """Types of what readers use of a result.json of any version."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Any]

    fingerprint: str = ""
    outcome: Outcome = Outcome.COMPLETED
    params: int = 0
    curves: list[_CurvePart] = []

    @model_validator(mode="after")
    def _refuse_scores_that_are_no_numbers(self) -> Self:
        for name, value in self.__pydantic_extra__.items():
            if "/" in name and not isinstance(value, int | float | None):
                raise ValueError(f"{name} must be a number, got {value!r}")
        return self


@dataclass(frozen=True)
class FitResult:
    """The record of a trial that has ended, and its curves."""

    record: Record
    curves: list[CurvePoint] = field(default_factory=list)

    def to_json(self) -> str:
        return json.dumps(self.record | {"format": RESULT_FORMAT, "curves": self.curves}, indent=1)

    @classmethod
    def from_fields(cls, fields: Any, where: str) -> Self:
        """The result in the fields of a result.json, with today's names of metrics.

        Args:
            where: the file, for errors.

        Raises:
            UserError: a later version wrote the file, or it is damaged.
        """
        if isinstance(fields, dict):
            check_format(fields.get("format"), RESULT_FORMAT, where)
        require_content(fields, _ResultPart, where)
        record = {name: value for name, value in fields.items() if name not in {"format", "curves"}}
        curves: list[CurvePoint] = [point | {"metric": current_name(point["metric"])} for point in fields.get("curves", [])]
        return cls(record, curves)


def read_result(path: Path) -> FitResult:
    """A result.json.

    Raises:
        UserError: the file is not a result, or a later version wrote it.
    """
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        return FitResult.from_fields(fields, str(path))
    except (OSError, ValueError) as error:
        raise UserError(str(path), f"is not the result of a trial: {first_line(error)}") from None


def describe(config: TrialConfig) -> Record:
    """Columns that follow from the config alone: identity, parameters by dotted path, counts and FLOPs."""
    model, shape = config.model, config.task.shape
    counts = count_parameters(model, shape)
    return {
        "fingerprint": config.fingerprint,
        "training_fingerprint": config.training_fingerprint,
        "seed": config.seed,
        **config.flat(),
        "params": counts.total,
        "params_once": counts.once,
        "params_recursed": counts.recursed,
        "layers_per_step": count_layers(model, shape),
        "layers_executed": count_layers(model, shape) * model.trained_depth,
        "inference_flops": inference_flops(model, shape),
        "recursion": count_recursion(model, shape),
        "matching": config.fit.budget.unit,
    }


def step_flops(config: TrialConfig, cycles: Cycles | None = None) -> int:
    """FLOPs of one optimizer step of this trial, at the T and n of a curriculum or the model's own."""
    return train_step_flops(config.model, config.task.shape, config.fit.batch_size, cycles)


def expected_steps(config: TrialConfig) -> float:
    """Optimizer steps that a budget allows; with fresh examples and halting in training the largest number."""
    budget = config.fit.budget
    per_step = {
        "steps": 1.0,
        "train_flops": step_flops(config),
        "fresh_examples": config.fit.batch_size / config.model.trained_depth,
    }
    return budget.amount / per_step[budget.unit]


def train_flops(config: TrialConfig) -> float:
    """FLOPs of training that a budget allows; not a number where it is in seconds."""
    budget = config.fit.budget
    if budget.unit == "train_flops":
        return budget.amount
    return expected_steps(config) * step_flops(config) if budget.unit != "seconds" else float("nan")


def curve_points(metric: str, values: list[float | None] | list[float], time: int) -> list[CurvePoint]:
    """A list of values at depths 1, 2, ... as points of a curve; undefined values are left out."""
    return [
        CurvePoint(metric=metric, axis="depth", at=depth, value=value, time=time)
        for depth, value in enumerate(values, 1)
        if value is not None
    ]


def step_points(row: Row) -> list[CurvePoint]:
    """A reported row as points of the training and validation curves."""
    return [
        CurvePoint(metric=metric, axis="step", at=row["step"], value=value, time=row["time"])
        for metric, value in row["metrics"].items()
    ]


def bin_points(bins: dict[str, list[float]], prefix: str, time: int) -> list[CurvePoint]:
    """Exact accuracy by bin of difficulty as points `<prefix>/exact_accuracy/<bin>`."""
    return [point for name, values in bins.items() for point in curve_points(f"{prefix}/exact_accuracy/{name}", values, time)]


def depth_points(curve: DepthCurve, prefix: str, time: int, metrics: tuple[str, ...] | None = None) -> list[CurvePoint]:
    """A depth curve as points `<prefix>/<metric>`.

    Args:
        metrics: which scores; all of them, and those over rollouts, where absent.
    """
    scores = {name: values for name, values in vars(curve).items() if name != "rollouts" and name in (metrics or vars(curve))}
    if metrics is None:
        scores |= {f"rollout_{name}": values for name, values in curve.rollouts.items()}
    return [point for name, values in scores.items() for point in curve_points(f"{prefix}/{name}", values, time)]
