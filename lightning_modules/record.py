"""Records: what is known of a trial before it runs, and the points of its curves. Names are those of docs/formats.md."""

import json
from dataclasses import dataclass, field
from typing import Any, TypedDict

from lightning_modules.config import TrialConfig
from rrm.compute import count_layers, count_parameters, count_recursion, inference_flops, train_step_flops

Record = dict[str, Any]  # column -> value, a row of trials.csv
RECORD_METRICS = ("exact_accuracy", "token_accuracy", "nll")


@dataclass(frozen=True)
class DepthCurve:
    """Scores after 1 .. D supervision steps, each a list of D values; None where a score is not defined."""

    exact_accuracy: list[float]  # share of rows whose scored tokens are all right, givens included
    token_accuracy: list[float]  # over the tokens that the input does not give away
    nll: list[float]  # mean over those tokens, in nats, under the distribution of the loss
    residual: list[float]  # relative change of the answer state, mean over rows
    token_change_rate: list[float | None]  # share of tokens whose answer changed since the depth before
    ever_correct: list[float]  # share of rows solved at this depth or an earlier one
    q_auroc: list[float | None]  # how well the halting value tells solved rows from others
    steps_used: list[float]  # mean supervision steps until a row halted; D where nobody halts early
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


# Columns that `describe` adds to the parameters.
DESCRIBED = ("fingerprint", "training_fingerprint", "seed", "params", "params_once", "params_recursed", "layers_per_step",
             "layers_executed", "inference_flops", "recursion", "matching")  # fmt: skip


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
