"""The sections `resources` and `tracking`: what a trial may use, and what MLflow receives. Neither changes a result."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, field_validator

from rrm.config import StrictConfig

GIGABYTE = 1e9  # bytes
ROUNDING = 1e-9  # ten times 0.1 counts as 1


class Resources(StrictConfig):
    """What one trial may use, and how many trials run at the same time."""

    cpus: float = Field(1, gt=0)
    """CPU cores of a trial: a share of one, or a whole number."""
    gpus: float = Field(0, ge=0)
    """GPUs of a trial: a share of one, or a whole number."""
    max_concurrent: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Largest number of trials that run at the same time; `auto` is as many as the resources allow."""
    memory_gb: float | None = Field(None, gt=0)
    """Memory of a trial in 10^9 bytes. Ray reserves it, and a trial that uses more fails. Default: no limit."""
    trial_timeout_minutes: float | None = Field(None, gt=0)
    """Longest time of an attempt, also of one that makes no progress; the trial then fails. Default: no limit."""
    max_retries: int = Field(2, ge=0)
    """Retries of a trial whose process was lost, later runs included."""

    @field_validator("cpus", "gpus")
    @classmethod
    def _share_or_whole(cls, count: float) -> float:
        if count > 1 and count % 1:
            raise ValueError(f"must be a share of one or a whole number, got {count:g}")
        return count

    @property
    def asked(self) -> dict[str, float]:
        """What Ray reserves for a trial, by Ray's names; memory in bytes."""
        asked = {"CPU": self.cpus, "GPU": self.gpus, "memory": (self.memory_gb or 0) * GIGABYTE}
        return {name: amount for name, amount in asked.items() if amount}

    def fit_into(self, available: Mapping[str, float]) -> int:
        """How many trials fit at the same time into the resources of one node, given by Ray's names."""
        return min(int(available.get(name, 0) / amount + ROUNDING) for name, amount in self.asked.items())


class Tracking(StrictConfig):
    """Which tracker receives the sweep, and what it receives beside runs, parameters and metrics."""

    kind: str = "mlflow"
    """Tracker that receives the sweep: `mlflow`, `memory` (keeps nothing), or the kind of a tracker of your own."""
    models: int | None = Field(None, ge=0)
    """Number of the best trials whose model is logged, 1 if absent; the best one is registered. Not for `kind: memory`."""
    system_metrics: bool = False
    """Whether load and memory of the machine of a trial are logged at every validation."""

    @property
    def num_models(self) -> int:
        """Number of the best trials whose model is logged."""
        return 1 if self.models is None else self.models
