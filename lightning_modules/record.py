"""Records: what is known of a trial before it runs, and the points of its curves. Names are those of docs/formats.md."""

import json
from dataclasses import dataclass, field
from typing import Any, TypedDict

from lightning_modules.config import TrialConfig
from lightning_modules.evaluation import DepthCurve
from rrm.compute import count_parameters, inference_flops, train_step_flops

Record = dict[str, Any]  # column -> value, a row of trials.csv


class CurvePoint(TypedDict):
    """One value of a curve."""

    metric: str
    axis: str  # step or depth
    at: int
    value: float
    time: int  # milliseconds since 1970, fixed when the value was measured


class Row(TypedDict):
    """What a running trial reports at a validation."""

    step: int
    time: int  # milliseconds since 1970
    metrics: dict[str, float]  # train_curve/..., val_curve/...
    used: dict[str, float]  # columns of the record that grow with training: steps, fresh_examples, train_flops, ...


@dataclass(frozen=True)
class FitResult:
    """How a trial ended."""

    record: Record
    curves: list[CurvePoint] = field(default_factory=list)

    def to_json(self) -> str:
        return json.dumps(self.record | {"curves": self.curves}, indent=1)


def describe(config: TrialConfig) -> Record:
    """Columns that follow from the config alone: identity, parameters by dotted path, counts and FLOPs."""
    model, shape = config.model, config.task.shape
    counts = count_parameters(model, shape)
    return {
        "fingerprint": config.fingerprint,
        "seed": config.seed,
        **config.flat(),
        "params": counts.total,
        "params_once": counts.once,
        "params_recursed": counts.recursed,
        "layers_per_step": model.layers_per_step,
        "layers_executed": model.layers_per_step * model.trained_depth,
        "inference_flops": inference_flops(model, shape),
        "recursion": model.recursion,
        "matching": config.fit.budget.unit,
    }


def step_flops(config: TrialConfig, cycles: tuple[int | None, int | None] = (None, None)) -> int:
    """FLOPs of one optimizer step of this trial, at the (T, n) that a curriculum asks for or the model's own."""
    return train_step_flops(config.model, config.task.shape, config.fit.batch_size, cycles)


def step_points(row: Row) -> list[CurvePoint]:
    """A reported row as points of the training and validation curves."""
    return [
        CurvePoint(metric=metric, axis="step", at=row["step"], value=value, time=row["time"])
        for metric, value in row["metrics"].items()
    ]


def bin_points(bins: dict[str, list[float]], prefix: str, time: int) -> list[CurvePoint]:
    """Exact accuracy by bin of difficulty as points `<prefix>/exact_accuracy/<bin>`."""
    return [
        CurvePoint(metric=f"{prefix}/exact_accuracy/{name}", axis="depth", at=depth, value=value, time=time)
        for name, values in bins.items()
        for depth, value in enumerate(values, 1)
    ]


def depth_points(curve: DepthCurve, prefix: str, time: int, metrics: tuple[str, ...] | None = None) -> list[CurvePoint]:
    """A depth curve as points `<prefix>/<metric>`; undefined scores are left out.

    Args:
        metrics: which scores; all of them, those over rollouts included, where absent.
    """
    scores = {name: values for name, values in vars(curve).items() if name != "rollouts" and name in (metrics or vars(curve))}
    if metrics is None:
        scores |= {f"rollout_{name}": values for name, values in curve.rollouts.items()}
    return [
        CurvePoint(metric=f"{prefix}/{metric}", axis="depth", at=depth, value=value, time=time)
        for metric, values in scores.items()
        for depth, value in enumerate(values, 1)
        if value is not None
    ]
